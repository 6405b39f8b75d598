// SPDX-License-Identifier: Apache-2.0
import type { IncomingHttpHeaders } from 'node:http';
import { gatewayError } from '../errors.ts';
import { COST_LIMIT_MICROS, DEADLINE_LIMIT, PRIORITY_LIMIT } from '../queue/limits.ts';
import { parseTime } from './time.ts';

/** What a client asks of the queue for one request. */
export interface Intent {
  readonly priority: number;
  /** Unix ms; past it the request expires and never runs. */
  readonly deadline?: number;
  /** µGPU-seconds; 0 = not said, the queue charges what it has learned. */
  readonly cost: number;
}

const MICROS = 1_000_000;
const COST_LIMIT_SECONDS = COST_LIMIT_MICROS / MICROS;
const LATEST = new Date(DEADLINE_LIMIT).toISOString();

/**
 * Reads `Penstock-Priority`, `Penstock-Deadline` and `Penstock-Cost`.
 * @param priorityCeiling the highest priority that the tenant may ask for
 * @param now Unix ms
 * @throws ProblemError 400
 */
export function parseIntent(headers: IncomingHttpHeaders, priorityCeiling: number, now: number): Intent {
  const deadline = parseDeadline(headers['penstock-deadline'], now);
  return {
    priority: parsePriority(headers['penstock-priority'], priorityCeiling),
    ...(deadline === undefined ? {} : { deadline }),
    cost: parseCost(headers['penstock-cost']),
  };
}

function parsePriority(header: string | string[] | undefined, ceiling: number): number {
  // A tenant whose ceiling lies below the default starts at its ceiling.
  if (header === undefined) return Math.min(0, ceiling);
  const text = String(header).trim();
  const priority = /^[+-]?[0-9]{1,4}$/.test(text) ? Number(text) : Number.NaN;
  if (!(Math.abs(priority) <= PRIORITY_LIMIT)) {
    throw gatewayError('bad-header', 'the priority is not an integer within its limits', {
      field: 'header:Penstock-Priority',
      fix: `send an integer from -${PRIORITY_LIMIT} to ${ceiling}; higher goes first, 0 is the default`,
    });
  }
  if (priority > ceiling) {
    throw gatewayError('bad-header', `the priority ${priority} is above the tenant’s ceiling of ${ceiling}`, {
      field: 'header:Penstock-Priority',
      priority_ceiling: ceiling,
      fix: `send at most ${ceiling}, or have the tenant’s priorityCeiling raised`,
    });
  }
  // No negative zero: the queue's scores are built from it.
  return priority + 0;
}

function parseDeadline(header: string | string[] | undefined, now: number): number | undefined {
  if (header === undefined) return undefined;
  const text = String(header).trim();
  const deadline = text.startsWith('+') ? relative(text, now) : parseTime(text);
  if (deadline === undefined) {
    throw badDeadline('is neither an RFC 3339 time nor + and a number of seconds');
  }
  if (deadline <= now) throw badDeadline('has passed already');
  if (deadline > DEADLINE_LIMIT) throw badDeadline(`is later than ${LATEST}`);
  return deadline;
}

function badDeadline(what: string): Error {
  return gatewayError('bad-header', `the deadline ${what}`, {
    field: 'header:Penstock-Deadline',
    fix: `send a future time with its zone (2026-01-31T12:00:00Z) before ${LATEST}, or +seconds (+90)`,
  });
}

function relative(text: string, now: number): number | undefined {
  return /^\+[0-9]{1,10}$/.test(text) ? now + Number(text.slice(1)) * 1000 : undefined;
}

/** Decimal GPU-seconds, read digit by digit: a double would not hit every millionth. */
function parseCost(header: string | string[] | undefined): number {
  if (header === undefined) return 0;
  const [, whole, fraction = ''] = /^([0-9]{1,8})(?:\.([0-9]{1,6}))?$/.exec(String(header).trim()) ?? [];
  const micros = whole === undefined ? 0 : Number(whole) * MICROS + Number(fraction.padEnd(6, '0'));
  if (micros > 0 && micros <= COST_LIMIT_MICROS) return micros;
  throw gatewayError('bad-header', 'the cost is not a number of GPU-seconds within its limits', {
    field: 'header:Penstock-Cost',
    fix: `send decimal GPU-seconds above 0 and up to ${COST_LIMIT_SECONDS}, at most six decimals (2.5), or leave it out`,
  });
}
