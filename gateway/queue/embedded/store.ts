// SPDX-License-Identifier: Apache-2.0
import type { DatabaseSync, SQLOutputValue, StatementSync } from 'node:sqlite';
import { DEAD_LETTER_RETENTION_MS } from '../limits.ts';
import type { QueuedRequest } from './request.ts';
import type { SharingPeriod } from './sharing.ts';
import { FairStore } from './fair-store.ts';
import { Statements } from './statements.ts';
import type { VirtualTimes } from './tenants.ts';
import type { Unit } from './units.ts';

/** 0 open, 1 being purged, 2 gone. */
export type Phase = 0 | 1 | 2;

export interface StoredApp {
  readonly uid: string;
  seq: number;
  phase: Phase;
  phaseAt: number;
  /** Counts the calls that changed something of the app. */
  generation: number;
}

/** What the fair order of an app keeps beside its tenants. */
export interface StoredFairness {
  readonly virtual: VirtualTimes;
  readonly drain: string;
  readonly periods: number;
  readonly sharing: Readonly<Record<string, SharingPeriod>>;
}

/** Which dead letters: of everyone or of one tenant, died from `since` on and before `until`, and after the letter at the cursor. */
export interface LetterRange {
  readonly tenant: string | undefined;
  readonly since: number;
  readonly until: number;
  readonly diedAt: number;
  readonly after: string;
}

/** Object key of an app that waits for its fate (`doomed` false) or for its deletion. */
export interface StoredObjectKey {
  readonly app: string;
  readonly key: string;
  readonly id: string;
  readonly epoch: number;
}

export interface Joinable {
  readonly id: string;
  readonly fingerprint: string;
}

export const BODY = 0;
export const RESULT = 1;

type Fixed = Pick<
  QueuedRequest,
  'fixed' | 'tenant' | 'lane' | 'deadline' | 'maxAttempts' | 'maxLosses' | 'retentionMs' | 'createdAt' | 'seq' | 'score'
>;

/** The tables, statement by statement; knows nothing of rules. All calls run inside the turn's transaction. */
export class QueueStore {
  /** Tenants and what was learned. */
  readonly fair: FairStore;
  readonly #statements: Statements;
  readonly #touched = new Set<string>();

  constructor(db: DatabaseSync) {
    this.#statements = new Statements(db);
    this.fair = new FairStore(this.#statements);
  }

  /** Something of the app changes. */
  touch(app: string): void {
    this.#touched.add(app);
  }

  /** Apps of which something has changed since this was asked last. */
  takeTouched(): string[] {
    const touched = [...this.#touched];
    this.#touched.clear();
    return touched;
  }

  insertRequest(request: QueuedRequest): void {
    const {
      id,
      app,
      fixed,
      tenant,
      lane,
      deadline,
      maxAttempts,
      maxLosses,
      retentionMs,
      createdAt,
      seq,
      score,
      ...state
    } = request;
    this.touch(app);
    const part: Fixed = { fixed, tenant, lane, deadline, maxAttempts, maxLosses, retentionMs, createdAt, seq, score };
    this.#sql('INSERT INTO request (id, app, live, retain_until, fixed, state) VALUES (?, ?, 1, NULL, ?, ?)').run(
      id,
      app,
      JSON.stringify(part),
      JSON.stringify(state),
    );
  }

  /** @param expiresAt end of the lease, 0 when there is none */
  saveRequest(request: QueuedRequest, expiresAt: number): void {
    const { id, app, fixed: _f, tenant: _t, lane: _l, deadline: _d, maxAttempts: _m, maxLosses: _o, ...rest } = request;
    const { retentionMs, createdAt: _c, seq: _s, score: _r, ...state } = rest;
    const live = state.finishedAt === 0;
    const keepMs = state.deadLetter ? Math.max(retentionMs, DEAD_LETTER_RETENTION_MS) : retentionMs;
    this.touch(app);
    this.#sql('UPDATE request SET live = ?, retain_until = ?, state = ? WHERE id = ?').run(
      live ? 1 : 0,
      live ? null : state.finishedAt + keepMs,
      JSON.stringify(expiresAt === 0 ? state : { ...state, expiresAt }),
      id,
    );
  }

  request(id: string): { readonly request: QueuedRequest; readonly expiresAt: number } | undefined {
    const row = this.#sql('SELECT id, app, fixed, state FROM request WHERE id = ?').get(id);
    return row === undefined ? undefined : parseRequest(row);
  }

  *liveRequests(): Iterable<{ readonly request: QueuedRequest; readonly expiresAt: number }> {
    for (const row of this.#sql('SELECT id, app, fixed, state FROM request WHERE live = 1').iterate())
      yield parseRequest(row);
  }

  liveOf(app: string, limit: number, after: string): QueuedRequest[] {
    return this.#sql(
      'SELECT id, app, fixed, state FROM request WHERE app = ? AND live = 1 AND id > ? ORDER BY id LIMIT ?',
    )
      .all(app, after, limit)
      .map((row) => parseRequest(row).request);
  }

  /** Ids of finished records whose retention is over, earliest first. */
  retain(id: string, until: number): void {
    this.#sql('UPDATE request SET retain_until = ? WHERE id = ?').run(until, id);
  }

  pastRetention(now: number, limit: number): string[] {
    const rows = this.#sql(
      'SELECT id FROM request WHERE live = 0 AND retain_until <= ? ORDER BY retain_until LIMIT ?',
    ).all(now, limit);
    return rows.map((row) => String(row['id']));
  }

  requestsOf(app: string, limit: number): string[] {
    return this.#sql('SELECT id FROM request WHERE app = ? LIMIT ?')
      .all(app, limit)
      .map((row) => String(row['id']));
  }

  deleteRequest(request: QueuedRequest): void {
    this.touch(request.app);
    this.deleteLetter(request);
    this.#sql('DELETE FROM request WHERE id = ?').run(request.id);
    this.#sql('DELETE FROM payload WHERE id = ?').run(request.id);
    this.#sql('DELETE FROM dedupe WHERE app = ? AND key = ? AND id = ?').run(
      request.app,
      request.fixed.dedupeKey,
      request.id,
    );
  }

  putPayload(id: string, kind: number, bytes: Uint8Array | undefined): void {
    if (bytes === undefined || bytes.byteLength === 0) return;
    this.#sql('INSERT OR REPLACE INTO payload (id, kind, bytes) VALUES (?, ?, ?)').run(id, kind, bytes);
  }

  payload(id: string, kind: number): Uint8Array | undefined {
    const bytes = this.#sql('SELECT bytes FROM payload WHERE id = ? AND kind = ?').get(id, kind)?.['bytes'];
    return bytes instanceof Uint8Array ? bytes : undefined;
  }

  joinable(app: string, key: string): Joinable | undefined {
    const row = this.#sql('SELECT id, fingerprint FROM dedupe WHERE app = ? AND key = ?').get(app, key);
    return row === undefined ? undefined : { id: String(row['id']), fingerprint: String(row['fingerprint']) };
  }

  putJoinable(app: string, key: string, id: string, fingerprint: string): void {
    this.#sql('INSERT OR REPLACE INTO dedupe (app, key, id, fingerprint) VALUES (?, ?, ?, ?)').run(
      app,
      key,
      id,
      fingerprint,
    );
  }

  apps(): { readonly stored: StoredApp; readonly fair: StoredFairness }[] {
    return this.#sql('SELECT uid, seq, phase, phase_at, generation, fair FROM app')
      .all()
      .map((row) => ({
        stored: {
          uid: String(row['uid']),
          seq: Number(row['seq']),
          phase: Number(row['phase']) as Phase,
          phaseAt: Number(row['phase_at']),
          generation: Number(row['generation']),
        },
        fair: JSON.parse(String(row['fair'])) as StoredFairness,
      }));
  }

  saveApp(app: StoredApp, fair: StoredFairness): void {
    this.#sql('INSERT OR REPLACE INTO app (uid, seq, phase, phase_at, generation, fair) VALUES (?, ?, ?, ?, ?, ?)').run(
      app.uid,
      app.seq,
      app.phase,
      app.phaseAt,
      app.generation,
      JSON.stringify(fair),
    );
  }

  putLetter({ app, finishedAt, id, tenant }: QueuedRequest): void {
    this.#sql('INSERT OR REPLACE INTO letter (app, died_at, id, tenant) VALUES (?, ?, ?, ?)').run(
      app,
      finishedAt,
      id,
      tenant,
    );
  }

  deleteLetter({ app, finishedAt, id }: QueuedRequest): void {
    this.#sql('DELETE FROM letter WHERE app = ? AND died_at = ? AND id = ?').run(app, finishedAt, id);
  }

  /** INDEXED BY: a page of one tenant must cost the same however many letters the others have. */
  letters(app: string, { tenant, since, until, diedAt, after }: LetterRange, limit: number): QueuedRequest[] {
    const [index, whose] = tenant === undefined ? ['', ''] : ['INDEXED BY letter_of_tenant', 'AND tenant = ?'];
    return this.#sql(
      `SELECT request.id, request.app, fixed, state FROM letter ${index} CROSS JOIN request ON request.id = letter.id
       WHERE letter.app = ? ${whose} AND died_at >= ? AND died_at < ? AND (died_at, letter.id) > (?, ?)
       ORDER BY died_at, letter.id LIMIT ?`,
    )
      .all(app, ...(tenant === undefined ? [] : [tenant]), since, until, diedAt, after, limit)
      .map((row) => parseRequest(row).request);
  }

  letterCount(app: string): number {
    return Number(this.#sql('SELECT count(*) AS n FROM letter WHERE app = ?').get(app)?.['n']);
  }

  forgetApp(uid: string): void {
    this.#sql('DELETE FROM app WHERE uid = ?').run(uid);
    this.#sql('DELETE FROM meta WHERE key = ?').run(sweptKey(uid));
  }

  /** Kept beside the layout's name: read only when a record is missing. */
  noteSwept(app: string, madeAt: number): void {
    const clause = 'ON CONFLICT (key) DO UPDATE SET value = excluded.value WHERE CAST(value AS INTEGER) < ?';
    this.#sql(`INSERT INTO meta (key, value) VALUES (?, ?) ${clause}`).run(sweptKey(app), String(madeAt), madeAt);
  }

  sweptUpTo(app: string): number {
    return Number(this.#sql('SELECT value FROM meta WHERE key = ?').get(sweptKey(app))?.['value'] ?? 0);
  }

  units(): { readonly app: string; readonly unit: Unit }[] {
    return this.#sql('SELECT * FROM unit')
      .all()
      .map((row) => ({
        app: String(row['app']),
        unit: {
          unit: String(row['unit']),
          revision: String(row['revision']),
          lastSeenAt: Number(row['last_seen']),
          idleSince: Number(row['idle_since']),
          retired: row['retired'] === 1,
          forgetAt: Number(row['forget_at']),
          leases: 0,
          suspects: 0,
        },
      }));
  }

  saveUnit(app: string, unit: Unit): void {
    this.touch(app);
    this.#sql(
      'INSERT OR REPLACE INTO unit (app, unit, revision, last_seen, idle_since, retired, forget_at) VALUES (?, ?, ?, ?, ?, ?, ?)',
    ).run(app, unit.unit, unit.revision, unit.lastSeenAt, unit.idleSince, unit.retired ? 1 : 0, unit.forgetAt);
  }

  deleteUnit(app: string, unit: string): void {
    this.touch(app);
    this.#sql('DELETE FROM unit WHERE app = ? AND unit = ?').run(app, unit);
  }

  deleteUnitsOf(app: string): void {
    this.#sql('DELETE FROM unit WHERE app = ?').run(app);
  }

  noteObject(object: StoredObjectKey, due: number): void {
    const clause =
      'ON CONFLICT (app, key) DO UPDATE SET id = excluded.id, epoch = excluded.epoch, due = excluded.due WHERE doomed = 0';
    this.#sql(`INSERT INTO object (app, key, id, epoch, due, doomed) VALUES (?, ?, ?, ?, ?, 0) ${clause}`).run(
      object.app,
      object.key,
      object.id,
      object.epoch,
      due,
    );
  }

  /** The key has lost its owner: answered by sweeps from `due` on until it is forgotten. */
  doom(app: string, key: string, due: number): void {
    this.#sql("INSERT OR REPLACE INTO object (app, key, id, epoch, due, doomed) VALUES (?, ?, '', 0, ?, 1)").run(
      app,
      key,
      due,
    );
  }

  /** Noted objects whose grace is over. */
  undecided(now: number, limit: number): StoredObjectKey[] {
    return this.#sql('SELECT app, key, id, epoch FROM object WHERE doomed = 0 AND due <= ? ORDER BY due LIMIT ?')
      .all(now, limit)
      .map(parseObject);
  }

  doomed(now: number, limit: number): StoredObjectKey[] {
    return this.#sql('SELECT app, key, id, epoch FROM object WHERE doomed = 1 AND due <= ? ORDER BY due LIMIT ?')
      .all(now, limit)
      .map(parseObject);
  }

  objectsOf(app: string, limit: number): StoredObjectKey[] {
    return this.#sql('SELECT app, key, id, epoch FROM object WHERE app = ? LIMIT ?').all(app, limit).map(parseObject);
  }

  deleteObject(app: string, key: string): void {
    this.#sql('DELETE FROM object WHERE app = ? AND key = ?').run(app, key);
  }

  forgetObject(key: string): void {
    this.#sql('DELETE FROM object WHERE key = ? AND doomed = 1').run(key);
  }

  #sql(text: string): StatementSync {
    return this.#statements.of(text);
  }
}

function parseRequest(row: Record<string, SQLOutputValue>): {
  readonly request: QueuedRequest;
  readonly expiresAt: number;
} {
  const fixed = JSON.parse(String(row['fixed'])) as Fixed;
  const { expiresAt, ...state } = JSON.parse(String(row['state'])) as Omit<QueuedRequest, keyof Fixed> & {
    readonly expiresAt?: number;
  };
  return { request: { ...fixed, ...state, id: String(row['id']), app: String(row['app']) }, expiresAt: expiresAt ?? 0 };
}

function parseObject(row: Record<string, SQLOutputValue>): StoredObjectKey {
  return { app: String(row['app']), key: String(row['key']), id: String(row['id']), epoch: Number(row['epoch']) };
}

function sweptKey(app: string): string {
  return `swept/${app}`;
}
