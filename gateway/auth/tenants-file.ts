// SPDX-License-Identifier: Apache-2.0
import { readFileSync, statSync } from 'node:fs';
import type { Clock } from '#base/clock.ts';
import type { Logger } from '#base/logger.ts';
import { counter, gauge } from '#base/metrics.ts';
import type { Registry } from '#base/metrics.ts';
import { TenantsError, readTenants } from '#base/tenants.ts';
import type { TenantsDocument } from '#base/tenants.ts';
import { watchPath } from '../apps/watch-path.ts';
import type { AuditLog } from '../audit.ts';
import { readTenantsAside } from './tenants-thread.ts';
import { createTenants } from './tenants.ts';
import type { TenantSource } from './tenants.ts';
import { changesOf } from './tenants-diff.ts';

/** Larger than a full document is: a wrong file must not be read into memory whatever its size. */
const MAX_FILE_BYTES = 64 * 1024 * 1024;

export interface TenantsFileOptions {
  readonly file: string;
  readonly clock: Pick<Clock, 'now'>;
  readonly logger: Logger;
  readonly registry: Registry;
  readonly audit: AuditLog;
  /** The port is open to more than this machine, and keys are the only credentials: a start without any is refused. */
  readonly requireKeys: boolean;
  /** Namespace of tenants whose entry names none; absent = each one's name. */
  readonly homeNamespace?: string;
}

export interface WatchedTenants extends TenantSource {
  onChange(listener: () => void): () => void;
  trouble(): string | undefined;
  close(): void;
}

interface Loaded {
  readonly document: TenantsDocument;
  readonly source: TenantSource;
}

/**
 * Tenants from a file (in a cluster a mounted ConfigMap), read again when it changes; a document that does not fit, or an empty one in
 * place of keys, leaves the last good one in force, and log, metrics and `trouble` say so. Nobody is let in without a credential, ever.
 * @throws Error when the first document is not valid
 */
export function watchTenantsFile(options: TenantsFileOptions): WatchedTenants {
  const { file, logger, audit } = options;
  const metrics = reloadMetrics(options.registry);
  const who = { subject: `file ${file}` };
  const listeners = new Set<() => void>();
  let trouble: string | undefined;
  let closed = false;
  let current = loaded(readTenants(readText(file)), options, undefined);
  metrics.loaded(current);
  warnWithoutKeys(current, options);
  audit.record({ ...who, action: 'tenants.load', object: { file }, result: 'loaded', ...summary(current) });

  const refuse = (err: unknown): void => {
    trouble = `tenants file refused, the last good one stays in force: ${reasonOf(err)}`;
    metrics.refused();
    logger.error({ file, err }, 'tenants file refused; the last good one stays in force');
    audit.record({ ...who, action: 'tenants.reload', object: { file }, result: 'refused' });
  };
  const take = (next: Loaded): void => {
    const before = current;
    current = next;
    trouble = undefined;
    metrics.loaded(next);
    logger.info({ file, tenants: next.document.tenants.length, apiKeys: next.source.keyCount() }, 'tenants read again');
    warnWithoutKeys(next, options);
    const changes = changesOf(before.document, next.document);
    audit.record({ ...who, action: 'tenants.reload', object: { file }, result: 'reloaded', ...changes });
    for (const listener of listeners) listener();
  };
  const reload = async (): Promise<void> => {
    try {
      const next = loaded(await readTenantsAside(readText(file)), options, current);
      if (!closed) take(next);
    } catch (err) {
      if (!closed) refuse(err);
    }
  };
  const stop = watchPath(file, oneAtATime(reload));
  return {
    byApiKey: (key) => current.source.byApiKey(key),
    byServiceAccount: (account) => current.source.byServiceAccount(account),
    anonymous: () => undefined,
    keyCount: () => current.source.keyCount(),
    policies: () => current.source.policies(),
    strangers: () => current.source.strangers?.() ?? [],
    onChange: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    trouble: () => trouble,
    close: () => {
      closed = true;
      stop();
    },
  };
}

/** Runs `work` after each call of the answered function, never twice at once: a call meanwhile makes it run once more. */
function oneAtATime(work: () => Promise<void>): () => void {
  let running = false;
  let again = false;
  const run = (): void => {
    again = running;
    if (running) return;
    running = true;
    void work().finally(() => {
      running = false;
      if (again) run();
    });
  };
  return run;
}

function readText(file: string): string {
  const { size } = statSync(file);
  if (size > MAX_FILE_BYTES) throw new TenantsError('document', `has ${size} bytes`, `keep it below ${MAX_FILE_BYTES}`);
  return readFileSync(file, 'utf8');
}

function loaded(
  document: TenantsDocument | undefined,
  { clock, requireKeys, homeNamespace }: TenantsFileOptions,
  before: Loaded | undefined,
): Loaded {
  // An editor empties a file before it writes it. To take all keys away on purpose there is `tenants: []`.
  if (document === undefined && before !== undefined && before.source.keyCount() > 0) {
    throw new TenantsError('document', 'the file is empty', 'write tenants: [] to take all keys away');
  }
  const source = createTenants(document ?? { tenants: [] }, clock, homeNamespace);
  // Not later: whoever takes the last key out has his reason, and the document before would keep it good.
  if (requireKeys && before === undefined && source.keyCount() === 0) {
    throw new TenantsError('document', 'has no API key', 'add one: without keys the gateway listens on loopback only');
  }
  return { document: document ?? { tenants: [] }, source };
}

function warnWithoutKeys({ source }: Loaded, { file, logger }: TenantsFileOptions): void {
  if (source.keyCount() > 0) return;
  logger.warn(
    { file },
    'the tenants document has no key: no API key is good, and nobody is let in without a credential',
  );
}

function summary({ document, source }: Loaded) {
  return { after: { tenants: document.tenants.length, apiKeys: source.keyCount() } };
}

function reasonOf(err: unknown): string {
  return err instanceof Error ? err.message : String(err);
}

function reloadMetrics(registry: Registry) {
  const failures = counter(
    registry,
    'penstock_tenants_reload_failures_total',
    'Changed tenants documents that were refused; the last good one stayed in force.',
  );
  const success = gauge(
    registry,
    'penstock_tenants_last_reload_success',
    'Whether the tenants document as it lies there now is the one in force (1) or was refused (0).',
  );
  const tenants = gauge(registry, 'penstock_tenants', 'Tenants of the document in force.');
  const apiKeys = gauge(
    registry,
    'penstock_tenants_api_keys',
    'API keys of the document in force, expired ones included.',
  );
  return {
    refused: () => {
      failures.inc();
      success.set(0);
    },
    loaded: ({ document, source }: Loaded) => {
      success.set(1);
      tenants.set(document.tenants.length);
      apiKeys.set(source.keyCount());
    },
  };
}
