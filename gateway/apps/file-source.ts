// SPDX-License-Identifier: Apache-2.0
import { isDeepStrictEqual } from 'node:util';
import { join } from 'node:path';
import type { FieldError } from '#crds/field-error.ts';
import type { InferenceApp } from '#crds/inference-app.gen.ts';
import type { Clock } from '#base/clock.ts';
import type { Logger } from '#base/logger.ts';
import type { Random } from '#base/random.ts';
import { uuid7 } from '#base/uuid7.ts';
import type { AppSource } from './app-source.ts';
import { readManifests } from './manifest-files.ts';
import type { FoundApp, Manifests } from './manifest-files.ts';
import { AppIndex, servedApp } from './served.ts';
import { readLedger, writeLedger } from './uid-ledger.ts';
import type { LedgerEntry } from './uid-ledger.ts';
import { watchPath } from './watch-path.ts';

export interface FileSourceOptions {
  /** A manifest, or a folder of them. */
  readonly path: string;
  /** Folder that keeps the uids (`apps.json`). */
  readonly data: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Namespace of manifests that name none; default `default`. */
  readonly namespace?: string;
  /** What whoever runs the apps demands beyond the schema. */
  readonly check?: (app: InferenceApp, file: string) => readonly FieldError[];
}

/** A manifest as the API server would hold it: uid, generation, timestamps; and the file that it lies in. */
export interface FileApp {
  readonly app: InferenceApp;
  readonly file: string;
}

/**
 * Apps from files. Namespace and name keep one uid until the manifest goes; the app is then served as `deleting` until `purged`
 * says that nothing of it is left (what a finalizer is in a cluster), and the same name starts anew under another uid.
 */
export interface FileAppSource extends AppSource {
  /** Undefined once it is purged. */
  manifest(uid: string): FileApp | undefined;
  /** What is wrong in the files now. */
  problems(): readonly string[];
  /** Forgets a deleted app. */
  purged(uid: string): void;
}

/** @throws Error when the path or the ledger cannot be read at all; single bad manifests are logged and left out */
export function openFileSource(options: FileSourceOptions): FileAppSource {
  const { path, logger, data } = options;
  const ledgerFile = join(data, 'apps.json');
  const listeners = new Set<() => void>();
  let entries = readLedger(ledgerFile);
  let index = new AppIndex();
  let problems: readonly string[] = [];

  const take = (next: readonly LedgerEntry[]): void => {
    if (!isDeepStrictEqual(next, entries)) writeLedger(ledgerFile, next);
    entries = next;
    index = new AppIndex(entries.map((entry) => servedApp(appOf(entry))));
    for (const listener of listeners) listener();
  };
  const load = (): void => {
    const living = (namespace: string, name: string): InferenceApp | undefined =>
      entries.find((entry) => entry.deletedAt === undefined && isNamed(entry, namespace, name))?.manifest;
    const found = readManifests(path, {
      namespace: options.namespace ?? 'default',
      previous: living,
      check: options.check ?? (() => []),
    });
    problems = found.problems;
    for (const problem of problems) logger.error({ problem }, 'manifest refused; what it held before stays in force');
    take(merge(entries, found, options));
  };
  load();
  const stop = watchPath(path, () => {
    try {
      load();
      logger.info({ apps: entries.length }, 'apps read again');
    } catch (err) {
      logger.error({ path, err }, 'apps cannot be read; what was read before stays in force');
    }
  });

  return {
    get: (namespace, name) => index.get(namespace, name),
    byUid: (uid) => index.byUid(uid),
    list: () => index.list(),
    onChange: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    synced: () => true,
    close: async () => stop(),
    manifest: (uid) => {
      const entry = entries.find((one) => one.uid === uid);
      return entry && { app: appOf(entry), file: entry.file };
    },
    problems: () => problems,
    purged: (uid) => take(entries.filter((entry) => entry.uid !== uid || entry.deletedAt === undefined)),
  };
}

function merge(entries: readonly LedgerEntry[], found: Manifests, options: FileSourceOptions): readonly LedgerEntry[] {
  const { clock } = options;
  const kept = entries.map((entry): LedgerEntry => {
    if (entry.deletedAt !== undefined) return entry;
    const { namespace = '', name } = entry.manifest.metadata;
    const now = found.apps.find(({ app }) => app.metadata.namespace === namespace && app.metadata.name === name);
    if (now !== undefined) return updated(entry, now);
    if (found.broken.has(entry.file)) return entry;
    return { ...entry, deletedAt: new Date(clock.now()).toISOString() };
  });
  const isKnown = ({ app }: FoundApp): boolean =>
    kept.some(
      (entry) => entry.deletedAt === undefined && isNamed(entry, app.metadata.namespace ?? '', app.metadata.name),
    );
  const fresh = found.apps
    .filter((one) => !isKnown(one))
    .map(({ app, file }): LedgerEntry => ({
      uid: uuid7(clock, options.random),
      file,
      createdAt: new Date(clock.now()).toISOString(),
      generation: 1,
      manifest: app,
    }));
  return [...kept, ...fresh];
}

function updated(entry: LedgerEntry, { app, file }: FoundApp): LedgerEntry {
  const changed = !isDeepStrictEqual(entry.manifest.spec, app.spec);
  return { ...entry, file, manifest: app, generation: entry.generation + Number(changed) };
}

function isNamed({ manifest }: LedgerEntry, namespace: string, name: string): boolean {
  return manifest.metadata.namespace === namespace && manifest.metadata.name === name;
}

function appOf({ uid, manifest, createdAt, generation, deletedAt }: LedgerEntry): InferenceApp {
  const metadata = { ...manifest.metadata, uid, generation, creationTimestamp: createdAt };
  return {
    ...manifest,
    metadata: deletedAt === undefined ? metadata : { ...metadata, deletionTimestamp: deletedAt },
  };
}
