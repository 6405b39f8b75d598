// SPDX-License-Identifier: Apache-2.0
import type { RetireCall } from '#base/wire/demand.ts';
import { RETIRE_SCHEMA, UNIT_PATTERN } from '#base/wire/demand.schema.ts';
import { operatorOf } from '../audit.ts';
import { gatewayError, queueUnavailable } from '../errors.ts';
import type { Exchange } from '../http/exchange.ts';
import { checker, readJson } from '../http/json-body.ts';
import { INTERNAL_BODY_MAX_BYTES } from '../limits.ts';
import type { ControlContext } from './context.ts';

const UNIT = new RegExp(UNIT_PATTERN);
const check = checker<RetireCall>(RETIRE_SCHEMA);

/**
 * POST units/{unit}/retire: from here on the unit can never lease or extend.
 * @throws ProblemError 409 `unit-busy` while it holds a live lease
 */
export async function retire(x: Exchange, context: ControlContext, unit: string): Promise<{ retired: true }> {
  const { queue, logger, audit } = context;
  if (!UNIT.test(unit)) {
    throw gatewayError('bad-path', 'the name of a unit is a DNS label', {
      field: 'path.unit',
      fix: 'use 1 to 63 of a-z, 0-9 and -',
    });
  }
  const { app } = check(await readJson(x, INTERNAL_BODY_MAX_BYTES));
  x.app = app;
  x.unit = unit;
  const outcome = await queue.retire(app, unit).catch((err: unknown) => {
    throw queueUnavailable(err);
  });
  if (outcome === 'busy') {
    throw gatewayError('unit-busy', 'the unit holds a live lease', {
      field: 'path.unit',
      fix: 'ask again when it has finished; a busy unit is never ended',
      headers: { 'retry-after': '5' },
    });
  }
  logger.info({ app, unit }, 'unit retired');
  audit.record({ ...operatorOf(x), action: 'unit.retire', object: { app, unit }, result: 'retired' });
  return { retired: true };
}
