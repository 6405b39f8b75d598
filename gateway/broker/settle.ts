// SPDX-License-Identifier: Apache-2.0
import type {
  CompleteCall,
  CompleteReply,
  ExtendCall,
  ExtendReply,
  FailCall,
  FailReply,
  ReleaseCall,
  ReleaseReply,
  UploadUrlCall,
  UploadUrlReply,
} from '#base/wire/broker.ts';
import type { UnitIdentity } from '../auth/sessions.ts';
import { gatewayError, storeUnavailable } from '../errors.ts';
import { SIGNED_URL_MIN_SECONDS } from '../limits.ts';
import type { CommitOutcome, Completion } from '../queue/lease-queue.ts';
import { serviceTime } from '../queue/order.ts';
import type { ToldOutcome } from '../queue/request-outcome.ts';
import { resultKey } from '../store/keys.ts';
import { storedType } from '../store/stored-type.ts';
import type { BrokerContext } from './context.ts';
import { heldOf } from './lease-token.ts';
import { checkResult } from './results.ts';

/** POST extend: which leases still hold, and of which the client wants no more. */
export async function extend(
  { queue, leaseSeconds }: BrokerContext,
  unit: UnitIdentity,
  call: ExtendCall,
): Promise<ExtendReply> {
  const outcomes = await queue.extend(unit.appUid, unit.unit, call.leases.map(heldOf), leaseSeconds * 1000);
  return { leases: outcomes.map(({ id, ok, cancel }) => ({ id, ok, ...(cancel === true ? { cancel } : {}) })) };
}

/**
 * POST complete: what the call says of its results is checked before anything is done; then they are placed, and each commits by its
 * own lease token.
 * @throws ProblemError 400, 422 naming the result; 503
 */
export async function complete(context: BrokerContext, unit: UnitIdentity, call: CompleteCall): Promise<CompleteReply> {
  const { metrics, waiters } = context;
  const checked = call.results.map((entry, i) => {
    const held = heldOf(entry);
    const place = checkResult(context, unit, held, entry.result, `body.results[${i}].result`);
    return { held, place, serviceMicros: entry.service_micros };
  });
  const done = await Promise.all(
    checked.map(async ({ held, place, serviceMicros }) => ({ ...held, result: await place(), serviceMicros })),
  );
  const outcomes = await commit(context, unit, done);
  waiters.settled(unit.appUid, unit.unit);
  return {
    results: done.map(({ id }, i) => {
      const outcome = outcomes[i] ?? 'lost';
      metrics.settled('complete', outcome, 1);
      return { id, outcome };
    }),
  };
}

/** What waits for these results here hears of them by the answer, which comes after they are on disk, without a look at the queue. */
async function commit(
  { queue, waits }: BrokerContext,
  { appUid, unit }: UnitIdentity,
  done: readonly Completion[],
): Promise<readonly CommitOutcome[]> {
  const under = waits.committing(done.map(({ id }) => id));
  let outcomes: readonly CommitOutcome[] = [];
  // What an earlier call has committed is in the queue: this one may say something else.
  const repeats = new Set<number>();
  try {
    outcomes = await queue.complete(appUid, unit, done, undefined, (place) => repeats.add(place));
    return outcomes;
  } finally {
    under.over((place) => {
      const one = done[place];
      return one !== undefined && outcomes[place] === 'committed' && !repeats.has(place)
        ? told(appUid, one)
        : undefined;
    });
  }
}

/** Of a first attempt only: how many came before another one (released ones, too) is not in its token. */
function told(app: string, { id, token, result, serviceMicros }: Completion): ToldOutcome | undefined {
  if (token.epoch !== 1) return undefined;
  return {
    id,
    app,
    state: 'succeeded',
    attempts: { length: 1 },
    deadLetter: false,
    result,
    serviceMicros: serviceTime(serviceMicros),
  };
}

/** POST fail: each by its own lease token, like `complete`. */
export async function fail(
  { queue, metrics, waiters }: BrokerContext,
  unit: UnitIdentity,
  call: FailCall,
): Promise<FailReply> {
  const failed = call.failures.map((entry) => ({ ...heldOf(entry), cause: entry.cause }));
  const outcomes = await queue.fail(unit.appUid, unit.unit, failed);
  waiters.settled(unit.appUid, unit.unit);
  return {
    failures: failed.map(({ id }, i) => {
      const outcome = outcomes[i] ?? 'lost';
      metrics.settled('fail', outcome, 1);
      return { id, outcome };
    }),
  };
}

/** POST release: back in the queue, where they were. */
export async function release(
  { queue, metrics, waiters }: BrokerContext,
  unit: UnitIdentity,
  call: ReleaseCall,
): Promise<ReleaseReply> {
  const outcomes = await queue.release(unit.appUid, unit.unit, call.leases.map(heldOf));
  waiters.settled(unit.appUid, unit.unit);
  return {
    leases: call.leases.map(({ id }, i) => {
      const outcome = outcomes[i] ?? 'lost';
      metrics.settled('release', outcome, 1);
      return { id, outcome };
    }),
  };
}

/**
 * POST upload-url: a URL for the result of this attempt and no other, of the size that is named. The queue knows the object's name before the URL exists, so
 * that whatever is uploaded has someone who removes it.
 * @throws ProblemError 409 when the lease is no longer held
 */
export async function uploadUrl(
  { queue, store, clock }: BrokerContext,
  unit: UnitIdentity,
  call: UploadUrlCall,
): Promise<UploadUrlReply> {
  const { id, token } = heldOf(call);
  const key = resultKey(unit.appUid, id, token);
  if (!(await queue.noteObject(unit.appUid, id, token, key))) throw leaseLost();
  const expiresAt = clock.now() + SIGNED_URL_MIN_SECONDS * 1000;
  const { content_type: type, content_encoding: contentEncoding } = call;
  const contentType = storedType({ contentType: type, ...(contentEncoding === undefined ? {} : { contentEncoding }) });
  const request = {
    key,
    verb: 'PUT',
    expiresInSeconds: SIGNED_URL_MIN_SECONDS,
    contentType,
    bytes: call.bytes,
  } as const;
  const url = await store.signedUrl(request, 'worker').catch((err: unknown) => {
    throw storeUnavailable(err);
  });
  return { url, method: 'PUT', headers: { 'content-type': contentType }, name: key, expires_at: expiresAt };
}

function leaseLost(): Error {
  return gatewayError('lease-lost', 'this lease token is not the last one of the request, or the request has ended', {
    field: 'body.lease_token',
    fix: 'drop the work: another unit has it, or nobody wants it any more',
  });
}
