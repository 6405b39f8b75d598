// SPDX-License-Identifier: Apache-2.0
import type { RevokeCall, RevokeReply } from '#base/wire/demand.ts';
import { REVOKE_SCHEMA } from '#base/wire/demand.schema.ts';
import { operatorOf } from '../audit.ts';
import { gatewayError, queueUnavailable } from '../errors.ts';
import type { Exchange } from '../http/exchange.ts';
import { checker, readJson } from '../http/json-body.ts';
import { INTERNAL_BODY_MAX_BYTES } from '../limits.ts';
import type { ControlContext } from './context.ts';

const check = checker<RevokeCall>(REVOKE_SCHEMA);

/**
 * POST revoke: a session, or a unit with its token and all its sessions, is refused from here on, busy or not. What the unit holds runs
 * out and is run again elsewhere; a unit that holds nothing is retired in the same call.
 * @throws ProblemError 400, 503
 */
export async function revoke(x: Exchange, { queue, revocations, audit, logger }: ControlContext): Promise<RevokeReply> {
  const { app, unit, jti } = check(await readJson(x, INTERNAL_BODY_MAX_BYTES));
  if (jti !== undefined) {
    if (app !== undefined) throw oneOf('body.app');
    if (unit !== undefined) throw oneOf('body.unit');
    await revocations.revoke({ jti });
    logger.info({ jti }, 'session revoked');
    audit.record({ ...operatorOf(x), action: 'credential.revoke', object: { jti }, result: 'revoked' });
    return { revoked: true };
  }
  if (app === undefined || unit === undefined) throw oneOf('body.unit');
  x.app = app;
  x.unit = unit;
  await revocations.revoke({ app, unit });
  const outcome = await queue.retire(app, unit).catch((err: unknown) => {
    throw queueUnavailable(err);
  });
  logger.info({ app, unit, outcome }, 'unit revoked');
  audit.record({ ...operatorOf(x), action: 'credential.revoke', object: { app, unit }, result: outcome });
  return { revoked: true, retired: outcome === 'retired' };
}

function oneOf(field: string): Error {
  const fix = 'send either jti, or app and unit';
  return gatewayError('bad-body', `${field}: ${fix}`, { field, fix });
}
