// SPDX-License-Identifier: Apache-2.0
import { APP_UID_PATTERN } from '#base/wire/demand.schema.ts';
import { operatorOf } from '../audit.ts';
import { gatewayError, queueUnavailable, storeUnavailable } from '../errors.ts';
import type { Exchange } from '../http/exchange.ts';
import { answerEmpty, answerJson } from '../http/answer.ts';
import { PURGE_CALL_MS, PURGE_STEP } from '../limits.ts';
import { appPrefix, generationKey } from '../store/keys.ts';
import type { ControlContext } from './context.ts';

const UID = new RegExp(APP_UID_PATTERN);

/**
 * DELETE apps/{uid}: cancels what is queued, waits for leases, removes records, keys and objects in bounded steps.
 * 202 until nothing is left, then 204; the caller asks again. Stateless: any replica goes on where another one stopped.
 * @throws ProblemError 400, 503
 */
export async function purgeApp(x: Exchange, context: ControlContext, uid: string): Promise<void> {
  if (!UID.test(uid)) {
    throw gatewayError('bad-path', 'this is no uid of an app', {
      field: 'path.uid',
      fix: 'use metadata.uid of the InferenceApp',
    });
  }
  x.app = uid;
  const deadline = context.clock.monotonic() + PURGE_CALL_MS;
  const done = (await purgeQueue(context, uid, deadline)) && (await purgeObjects(context, uid, deadline));
  if (!done) return answerJson(x, 202, { done: false }, { 'retry-after': '1' });
  context.logger.info({ app: uid }, 'app purged');
  context.audit.record({ ...operatorOf(x), action: 'app.purge', object: { app: uid }, result: 'purged' });
  answerEmpty(x, 204);
}

/** Records and keys, with the objects that they name. False while leases run, or when the time is up. */
async function purgeQueue({ queue, store, clock }: ControlContext, uid: string, deadline: number): Promise<boolean> {
  for (;;) {
    const step = await queue.purge(uid, PURGE_STEP).catch((err: unknown) => {
      throw queueUnavailable(err);
    });
    if (step.orphans.length > 0) {
      await store.delete(step.orphans).catch((err: unknown) => {
        throw storeUnavailable(err);
      });
      await queue.forget(step.orphans);
    }
    if (step.done) return true;
    // Nothing to do but to wait for leases: the next call of the operator does that better than this one.
    if (step.waiting === true || clock.monotonic() >= deadline) return false;
  }
}

/** What no record names any more: uploads that were cut by a crash. The closed queue lets nothing new come. */
async function purgeObjects({ store, clock }: ControlContext, uid: string, deadline: number): Promise<boolean> {
  try {
    for (;;) {
      const { objects, cursor } = await store.list(appPrefix(uid), { limit: PURGE_STEP });
      await store.delete(objects.map(({ key }) => key));
      if (cursor === undefined) break;
      if (clock.monotonic() >= deadline) return false;
    }
    await store.delete([generationKey(uid)]);
    return true;
  } catch (err) {
    throw storeUnavailable(err);
  }
}
