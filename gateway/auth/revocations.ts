// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '#base/clock.ts';
import { SESSION_TOKEN_SECONDS, UNIT_TOKEN_SECONDS } from '#base/wire/claims.ts';
import { gatewayError, queueUnavailable } from '../errors.ts';
import { REVOCATION_MARGIN_SECONDS, REVOCATIONS_FRESH_MS } from '../limits.ts';
import type { LeaseQueue } from '../queue/lease-queue.ts';
import type { UnitIdentity } from './sessions.ts';

/** One session, or a unit with all its sessions and its unit token. */
export type Revoked = { readonly jti: string } | { readonly app: string; readonly unit: string };

/** Credentials of units that are refused before their end. */
export interface Revocations {
  /** Nothing to wait for while the list is fresh. @throws ProblemError 401 for what is revoked, 503 when the list cannot be read */
  check(unit: UnitIdentity): void | Promise<void>;
  /** @throws ProblemError 503 */
  revoke(what: Revoked): Promise<void>;
}

/**
 * The list lies in the queue's store, which all replicas share and which every call needs anyway. A replica reads it at most once a
 * second, and only when a unit calls: revoked is refused here at once, everywhere else within that second. What was granted within
 * it is worthless soon after, since neither `extend` nor `complete` goes through.
 */
export function createRevocations(queue: Pick<LeaseQueue, 'revoke' | 'revocations'>, clock: Clock): Revocations {
  let entries: ReadonlyMap<string, number> = new Map();
  let readAt = -Infinity;
  let reading: Promise<void> | undefined;

  const read = async (): Promise<void> => {
    const at = clock.monotonic();
    entries = await queue.revocations().catch((err: unknown) => {
      throw queueUnavailable(err);
    });
    readAt = at;
  };
  const refresh = (): Promise<void> => {
    reading ??= read().finally(() => {
      reading = undefined;
    });
    return reading;
  };
  const judge = ({ appUid, unit, jti }: UnitIdentity): void => {
    if (entries.size === 0) return;
    const now = clock.now();
    const isLive = (entry: string): boolean => (entries.get(entry) ?? 0) > now;
    if (isLive(unitEntry(appUid, unit)))
      throw revoked('unit', 'end the unit; the operator starts another one if it is needed');
    if (jti !== undefined && isLive(sessionEntry(jti)))
      throw revoked('session', 'get a new session by POST /internal/v1/token');
  };
  return {
    check: (unit) => {
      if (clock.monotonic() - readAt < REVOCATIONS_FRESH_MS) return judge(unit);
      return refresh().then(() => judge(unit));
    },
    revoke: async (what) => {
      const [entry, seconds] =
        'jti' in what
          ? [sessionEntry(what.jti), SESSION_TOKEN_SECONDS]
          : [unitEntry(what.app, what.unit), UNIT_TOKEN_SECONDS];
      const until = clock.now() + (seconds + REVOCATION_MARGIN_SECONDS) * 1000;
      const taken = await queue.revoke(entry, until).catch((err: unknown) => {
        throw queueUnavailable(err);
      });
      if (!taken) throw listFull();
      // Not the reading that may be under way, which may be older than this entry.
      await reading?.catch(() => undefined);
      await refresh();
    },
  };
}

function unitEntry(appUid: string, unit: string): string {
  return `unit ${appUid} ${unit}`;
}

function sessionEntry(jti: string): string {
  return `session ${jti}`;
}

function revoked(what: 'unit' | 'session', fix: string): Error {
  return gatewayError('credential-revoked', `this ${what} was revoked`, {
    field: 'header:Authorization',
    fix,
    headers: { 'www-authenticate': 'Bearer error="invalid_token"' },
  });
}

function listFull(): Error {
  return gatewayError('not-ready', 'there are as many revocations as are kept', {
    fix: 'revoke whole units in place of their sessions, or rotate the key of the operator',
    headers: { 'retry-after': '60' },
  });
}
