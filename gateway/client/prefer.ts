// SPDX-License-Identifier: Apache-2.0
import { gatewayError } from '../errors.ts';
import { CLIENT_WAIT_MAX_SECONDS } from '../limits.ts';

/** What a client prefers (RFC 7240): how long to wait, and the line that says what was honoured. */
export interface Preference {
  readonly waitSeconds: number;
  /** Value of Preference-Applied, absent when nothing was asked for. */
  readonly applied?: string;
}

const NONE: Preference = { waitSeconds: 0 };

/**
 * Reads `wait=N` and `respond-async`; both together mean: wait up to N seconds, then 202. Other preferences are ignored, as
 * RFC 7240 §2 demands; of one that is given twice the first counts.
 * @throws ProblemError 400 when N is not a whole number of seconds
 */
export function parsePrefer(header: string | string[] | undefined): Preference {
  if (header === undefined) return NONE;
  const text = typeof header === 'string' ? header : header.join(',');
  let wait: number | undefined;
  let async = false;
  for (const part of text.split(',')) {
    const [preference = ''] = part.split(';', 1);
    const [name = '', value = ''] = preference.split('=', 2).map((piece) => piece.trim());
    if (name.toLowerCase() === 'respond-async') async = true;
    else if (name.toLowerCase() === 'wait') wait ??= parseWait(value);
  }
  const applied = [...(async ? ['respond-async'] : []), ...(wait === undefined ? [] : [`wait=${wait}`])].join(', ');
  return applied === '' ? NONE : { waitSeconds: wait ?? 0, applied };
}

function parseWait(value: string): number {
  const digits = /^"?([0-9]{1,9})"?$/.exec(value)?.[1];
  if (digits === undefined) {
    throw gatewayError('bad-header', 'the wait preference is not a whole number of seconds', {
      field: 'header:Prefer',
      fix: `send Prefer: wait=N with N from 0 to ${CLIENT_WAIT_MAX_SECONDS}`,
    });
  }
  return Math.min(Number(digits), CLIENT_WAIT_MAX_SECONDS);
}
