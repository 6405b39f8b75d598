// SPDX-License-Identifier: Apache-2.0
import { DatabaseSync } from 'node:sqlite';
import { QueueError } from '../errors.ts';

/** Raised with every change of the tables or of the JSON in them; a file of another layout is refused, never guessed at. */
export const EMBEDDED_LAYOUT = 2;

/** SQLITE_BUSY and SQLITE_LOCKED. */
const LOCK_CODES = new Set([5, 6]);

const TABLES = `
  CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE app (uid TEXT PRIMARY KEY, seq INTEGER NOT NULL, phase INTEGER NOT NULL, phase_at INTEGER NOT NULL,
    generation INTEGER NOT NULL, fair TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE tenant (app TEXT NOT NULL, name TEXT NOT NULL, share TEXT NOT NULL, tags TEXT NOT NULL, PRIMARY KEY (app, name)) WITHOUT ROWID;
  CREATE TABLE estimate (app TEXT NOT NULL, revision TEXT NOT NULL, size INTEGER NOT NULL, micros INTEGER NOT NULL,
    PRIMARY KEY (app, revision, size)) WITHOUT ROWID;
  CREATE TABLE letter (app TEXT NOT NULL, died_at INTEGER NOT NULL, id TEXT NOT NULL, tenant TEXT NOT NULL,
    PRIMARY KEY (app, died_at, id)) WITHOUT ROWID;
  CREATE INDEX letter_of_tenant ON letter (app, tenant, died_at, id);
  CREATE TABLE request (id TEXT PRIMARY KEY, app TEXT NOT NULL, live INTEGER NOT NULL, retain_until INTEGER,
    fixed TEXT NOT NULL, state TEXT NOT NULL);
  CREATE INDEX request_live ON request (app, id) WHERE live = 1;
  CREATE INDEX request_of_app ON request (app);
  CREATE INDEX request_retention ON request (retain_until) WHERE live = 0;
  CREATE TABLE payload (id TEXT NOT NULL, kind INTEGER NOT NULL, bytes BLOB NOT NULL, PRIMARY KEY (id, kind));
  CREATE TABLE dedupe (app TEXT NOT NULL, key TEXT NOT NULL, id TEXT NOT NULL, fingerprint TEXT NOT NULL, PRIMARY KEY (app, key)) WITHOUT ROWID;
  CREATE TABLE revoked (entry TEXT PRIMARY KEY, until INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE unit (app TEXT NOT NULL, unit TEXT NOT NULL, revision TEXT NOT NULL, last_seen INTEGER NOT NULL,
    idle_since INTEGER NOT NULL, retired INTEGER NOT NULL, forget_at INTEGER NOT NULL, PRIMARY KEY (app, unit)) WITHOUT ROWID;
  CREATE TABLE object (app TEXT NOT NULL, key TEXT NOT NULL, id TEXT NOT NULL, epoch INTEGER NOT NULL, due INTEGER NOT NULL,
    doomed INTEGER NOT NULL, PRIMARY KEY (app, key)) WITHOUT ROWID;
  CREATE INDEX object_key ON object (key);
  CREATE INDEX object_due ON object (due);
`;

/**
 * Opens the file (or ':memory:') for this process alone.
 * @throws QueueError `locked` when another process has it, `layout` when another version wrote it
 */
export function openDatabase(file: string): DatabaseSync {
  const database = new DatabaseSync(file, { timeout: 0 });
  try {
    prepare(database, file);
    return database;
  } catch (error) {
    database.close();
    if (isLocked(error)) {
      throw new QueueError(
        'locked',
        `${file} is used by another process; stop that one or choose another data folder`,
        { cause: error },
      );
    }
    throw error;
  }
}

function prepare(database: DatabaseSync, file: string): void {
  // EXCLUSIVE before WAL: the lock is the kernel's, so it ends with the process, kill -9 included, and no shared memory file is needed.
  database.exec('PRAGMA locking_mode = EXCLUSIVE');
  database.exec('PRAGMA journal_mode = WAL');
  database.exec('PRAGMA synchronous = FULL');
  database.exec('BEGIN IMMEDIATE');
  const found = Number(database.prepare('PRAGMA user_version').get()?.['user_version']);
  if (found === 0 && isEmpty(database)) create(database);
  else checkLayout(database, file, found);
  database.exec('COMMIT');
}

function isEmpty(database: DatabaseSync): boolean {
  return database.prepare('SELECT count(*) AS n FROM sqlite_schema').get()?.['n'] === 0;
}

function create(database: DatabaseSync): void {
  database.exec(TABLES);
  database.prepare('INSERT INTO meta (key, value) VALUES (?, ?)').run('layout', `penstock-queue/${EMBEDDED_LAYOUT}`);
  database.exec(`PRAGMA user_version = ${EMBEDDED_LAYOUT}`);
}

function checkLayout(database: DatabaseSync, file: string, found: number): void {
  const named =
    found === EMBEDDED_LAYOUT
      ? database.prepare("SELECT value FROM meta WHERE key = 'layout'").get()?.['value']
      : undefined;
  if (named === `penstock-queue/${EMBEDDED_LAYOUT}`) return;
  throw new QueueError(
    'layout',
    `${file} has layout ${found}, this build knows ${EMBEDDED_LAYOUT} only; use the build that wrote it or another file`,
  );
}

function isLocked(error: unknown): boolean {
  return (
    error instanceof Error &&
    'errcode' in error &&
    typeof error.errcode === 'number' &&
    LOCK_CODES.has(error.errcode & 0xff)
  );
}
