// SPDX-License-Identifier: Apache-2.0
import { existsSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import type { Clock } from '#base/clock.ts';
import { silentLogger } from '#base/logger.ts';
import type { Logger } from '#base/logger.ts';
import type { Random } from '#base/random.ts';
import { openFileSource } from '#gateway/apps/file-source.ts';
import type { FileAppSource } from '#gateway/apps/file-source.ts';
import { readManifests } from '#gateway/apps/manifest-files.ts';
import { readLedger } from '#gateway/apps/uid-ledger.ts';
import { UsageError } from './errors.ts';
import { localErrors } from './local-rules.ts';

export interface AppsDeps {
  /** The data folder, absolute. */
  readonly data: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

const NAMESPACE = 'default';

/** Opens the manifests that are to be served. At the start nothing that is wrong is let pass. @throws UsageError */
export function openApps(settings: { readonly apps: string; readonly data: string }, deps: AppsDeps): FileAppSource {
  const path = resolve(settings.apps);
  if (!existsSync(path)) throw new UsageError(`-f ${settings.apps}: there is no such file or folder`);
  refuseStrangers(path, settings.data, deps.data);
  const { logger, begin } = quietUntilBegun(deps.logger);
  const apps = openFileSource({ path, ...deps, logger, namespace: NAMESPACE, check: localErrors });
  const problems = apps.problems();
  if (problems.length > 0) {
    void apps.close();
    throw new UsageError(problems.join('\n'));
  }
  begin();
  if (apps.list().length === 0) deps.logger.warn({ path }, 'there is no InferenceApp in it yet; it is watched');
  return apps;
}

/** Problems that end the start are said once, by the error. */
function quietUntilBegun(logger: Logger): { readonly logger: Logger; readonly begin: () => void } {
  let current = silentLogger;
  const begin = (): void => {
    current = logger;
  };
  const relay: Logger = {
    debug: (fields, message) => current.debug(fields, message),
    info: (fields, message) => current.info(fields, message),
    warn: (fields, message) => current.warn(fields, message),
    error: (fields, message) => current.error(fields, message),
    child: (fields) => current.child(fields),
  };
  return { logger: relay, begin };
}

/**
 * An app whose manifest is gone is removed with everything that waits in its queue. That is right for a manifest that was taken out
 * of the folder, and a disaster when somebody merely starts another folder on the same --data.
 */
function refuseStrangers(path: string, folder: string, data: string): void {
  const elsewhere = readLedger(join(data, 'apps.json')).filter(
    ({ deletedAt, file }) => deletedAt === undefined && !isWithin(path, file),
  );
  if (elsewhere.length === 0) return;
  const { apps } = readManifests(path, { namespace: NAMESPACE, previous: () => undefined, check: () => [] });
  const here = new Set(apps.map(({ app }) => `${app.metadata.namespace}.${app.metadata.name}`));
  for (const { manifest, file } of elsewhere) {
    const name = `${manifest.metadata.namespace}.${manifest.metadata.name}`;
    if (here.has(name)) continue;
    throw new UsageError(
      `--data ${folder} holds the requests of ${name}, which came from ${file}; serving ${path} would remove them: ` +
        `choose another --data, or delete ${folder} if they are not needed`,
    );
  }
}

function isWithin(path: string, file: string): boolean {
  const way = relative(path, file);
  return way === '' || !(way.startsWith('..') || way.startsWith('/'));
}
