// SPDX-License-Identifier: Apache-2.0
import type { DatabaseSync } from 'node:sqlite';
import { REVOCATIONS_MAX, REVOCATION_TRIM_MS } from '../limits.ts';

/** Refused credentials in table `revoked`, by when they may be forgotten. Asked about once a second at most: nothing is kept prepared. */
export function revoke(db: DatabaseSync, entry: string, until: number, now: number): boolean {
  db.prepare('DELETE FROM revoked WHERE until <= ?').run(now - REVOCATION_TRIM_MS);
  const others = db.prepare('SELECT count(*) AS n FROM revoked WHERE entry <> ?').get(entry)?.['n'];
  if (Number(others) >= REVOCATIONS_MAX) return false;
  db.prepare(
    'INSERT INTO revoked (entry, until) VALUES (?, ?) ON CONFLICT (entry) DO UPDATE SET until = max(until, excluded.until)',
  ).run(entry, until);
  return true;
}

export function revocations(db: DatabaseSync): ReadonlyMap<string, number> {
  const rows = db.prepare('SELECT entry, until FROM revoked').all();
  return new Map(rows.map(({ entry, until }) => [String(entry), Number(until)]));
}
