// SPDX-License-Identifier: Apache-2.0
import type { IncomingMessage } from 'node:http';
import { gatewayError } from '../errors.ts';

/**
 * The query of a request target: each known parameter once at most.
 * @throws ProblemError 400 naming a parameter that is unknown or there twice
 */
export function queryOf<N extends string>(req: IncomingMessage, known: readonly N[]): Partial<Record<N, string>> {
  const target = req.url ?? '';
  const from = target.indexOf('?');
  const found: Partial<Record<N, string>> = {};
  if (from < 0) return found;
  for (const [given, value] of new URLSearchParams(target.slice(from + 1))) {
    const name = known.find((one) => one === given);
    if (name === undefined || found[name] !== undefined) {
      throw badQuery(given.slice(0, 100), name === undefined ? `known here: ${known.join(', ')}` : 'give it once');
    }
    found[name] = value;
  }
  return found;
}

export function badQuery(name: string, fix: string): Error {
  return gatewayError('bad-query', `the query parameter ${JSON.stringify(name)} is not valid`, {
    field: `query.${name}`,
    fix,
  });
}
