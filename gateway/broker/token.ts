// SPDX-License-Identifier: Apache-2.0
import type { TokenAnswer } from '#base/wire/broker.ts';
import { bearerOf } from '../auth/credential.ts';
import { refuse } from '../auth/jwt.ts';
import { queueUnavailable } from '../errors.ts';
import type { Exchange } from '../http/exchange.ts';
import type { BrokerContext } from './context.ts';
import { unitRetired } from './lease.ts';

/**
 * POST /internal/v1/token: a unit token for a session token. Renewal is the same call.
 * @throws ProblemError 401 for a bad token and for a retired or revoked unit
 */
export async function token(context: BrokerContext, x: Exchange): Promise<TokenAnswer> {
  const { sessions, revocations, queue, logger } = context;
  const bearer = bearerOf(x.req);
  if (bearer === undefined) throw refuse('is missing');
  const unit = await sessions.verifyUnit(bearer);
  x.unit = unit.unit;
  x.app = unit.appUid;
  await revocations.check(unit);
  const { units } = await queue.demand(unit.appUid).catch((err: unknown) => {
    throw queueUnavailable(err);
  });
  if (units.some((seen) => seen.unit === unit.unit && seen.retired)) throw unitRetired();
  const session = await sessions.mint(unit);
  // Its id is no secret, and what a leaked session is revoked by.
  logger.info({ app: unit.appUid, unit: unit.unit, jti: session.jti }, 'session opened');
  return { token: session.token, expires_at: session.expiresAt };
}
