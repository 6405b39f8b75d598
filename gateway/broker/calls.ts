// SPDX-License-Identifier: Apache-2.0
import { ProblemError } from '#base/problem.ts';
import { BROKER_SCHEMAS } from '#base/wire/broker.schema.ts';
import { bearerOf } from '../auth/credential.ts';
import { refuse } from '../auth/jwt.ts';
import { queueUnavailable } from '../errors.ts';
import { answerJson } from '../http/answer.ts';
import type { Exchange } from '../http/exchange.ts';
import { checker, readJson } from '../http/json-body.ts';
import { INTERNAL_BODY_MAX_BYTES } from '../limits.ts';
import type { BrokerCall, BrokerContext } from './context.ts';
import { withBody } from './large-body.ts';
import { lease } from './lease.ts';
import { complete, extend, fail, release, uploadUrl } from './settle.ts';
import { token } from './token.ts';

type Serve = (context: BrokerContext, x: Exchange) => Promise<void>;

/** Every call of the broker: POST /internal/v1/<name>. */
export const BROKER_CALLS: ReadonlyMap<string, Serve> = new Map<string, Serve>([
  ['token', serveToken],
  ['lease', call(BROKER_SCHEMAS.lease, lease)],
  ['extend', call(BROKER_SCHEMAS.extend, extend)],
  ['complete', call(BROKER_SCHEMAS.complete, complete)],
  ['fail', call(BROKER_SCHEMAS.fail, fail)],
  ['release', call(BROKER_SCHEMAS.release, release)],
  ['upload-url', call(BROKER_SCHEMAS['upload-url'], uploadUrl)],
]);

async function serveToken(context: BrokerContext, x: Exchange): Promise<void> {
  const answer = await token(context, x);
  checkNothing(await readJson(x, INTERNAL_BODY_MAX_BYTES));
  answerJson(x, 200, answer, { 'cache-control': 'no-store' });
}

const checkNothing = checker<object>(BROKER_SCHEMAS.token);

/** Session token, then body, then the call: an answer, or nothing when the unit has hung up. */
function call<C>(schema: object, handle: BrokerCall<C>): Serve {
  const check = checker<C>(schema);
  return async (context, x) => {
    const bearer = bearerOf(x.req);
    if (bearer === undefined) throw refuse('is missing');
    const unit = await context.sessions.verifySession(bearer);
    x.unit = unit.unit;
    x.app = unit.appUid;
    await context.revocations.check(unit);
    const answer = await withBody(x, context.largeBodies, (body) =>
      handle(context, unit, check(body), x).catch((err: unknown) => {
        throw err instanceof ProblemError ? err : queueUnavailable(err);
      }),
    );
    if (answer !== undefined && !x.res.destroyed) answerJson(x, 200, answer);
  };
}
