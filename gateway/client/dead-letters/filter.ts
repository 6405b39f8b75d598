// SPDX-License-Identifier: Apache-2.0
import type { ServedApp } from '../../apps/app-source.ts';
import type { Tenant } from '../../auth/tenants.ts';
import { gatewayError } from '../../errors.ts';
import { queryOf } from '../../http/query.ts';
import { readJson } from '../../http/json-body.ts';
import type { Exchange } from '../../http/exchange.ts';
import { isObject } from '#base/json.ts';
import type { DeadLetterFilter } from '../../queue/lease-queue.ts';
import type { Cursors } from '../../tickets/cursor.ts';
import { parseTime } from '../time.ts';

/** Letters of one page, and of one call that redrives or removes many. */
export const PAGE_DEFAULT = 50;
export const PAGE_MAX = 100;
export const CALL_MAX = 1_000;
/** A filter as JSON: a few short members. */
const FILTER_BODY_BYTES = 8 * 1024;
/** What spends a budget: a released attempt costs nothing, and an input that is bad fails at once and is no dead letter. */
const CAUSES = ['lost', 'handler', 'timeout'] as const;
const TENANT = /^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$/;
const NAMES = ['tenant', 'cause', 'since', 'until', 'limit', 'cursor'] as const;
type Name = (typeof NAMES)[number];

export interface Selection {
  readonly filter: DeadLetterFilter;
  readonly limit: number;
  /** The queue's own. */
  readonly cursor?: string;
}

/** Where a filter is read from, and how much it may take. */
interface Source {
  readonly values: Readonly<Partial<Record<Name, string>>>;
  readonly where: 'query' | 'body';
  readonly limit: { readonly default: number; readonly max: number };
}

/** @throws ProblemError 400 */
export function purgeFilter(x: Exchange, app: ServedApp, cursors: Cursors): Selection {
  const { all, ...values } = queryOf(x.req, [...NAMES, 'all']);
  if (all !== undefined && all !== 'true') throw bad('query', 'all', 'say all=true, or leave it out and give a filter');
  if (all === undefined) mustSelect('query', values, 'all=true to remove');
  return select({ values, where: 'query', limit: { default: CALL_MAX, max: CALL_MAX } }, app, cursors);
}

/** @throws ProblemError 400 */
export function listFilter(x: Exchange, app: ServedApp, cursors: Cursors): Selection {
  const values = queryOf(x.req, NAMES);
  return select({ values, where: 'query', limit: { default: PAGE_DEFAULT, max: PAGE_MAX } }, app, cursors);
}

/** @throws ProblemError 400, 413, 415 */
export async function redriveFilter(x: Exchange, app: ServedApp, cursors: Cursors): Promise<Selection> {
  const body = await readJson(x, FILTER_BODY_BYTES);
  if (!isObject(body)) throw bad('body', '', `send a JSON object with any of ${NAMES.join(', ')}, all`);
  const { all, ...filter } = body;
  if (all !== undefined && all !== true) throw bad('body', 'all', 'make it true, or leave it out and give a filter');
  const values: Partial<Record<Name, string>> = {};
  for (const [given, value] of Object.entries(filter)) {
    const name = NAMES.find((one) => one === given);
    if (name === undefined) throw bad('body', given.slice(0, 100), `known here: ${NAMES.join(', ')}, all`);
    const wanted = name === 'limit' ? 'number' : 'string';
    if (typeof value !== wanted) throw bad('body', name, `make it a ${wanted}`);
    values[name] = String(value);
  }
  const selection = select({ values, where: 'body', limit: { default: CALL_MAX, max: CALL_MAX } }, app, cursors);
  if (all === undefined) mustSelect('body', values, '{"all": true} to redrive');
  return selection;
}

/**
 * An operator sees the letters of the own tenant, whatever the filter leaves open; that of another one is refused, not emptied.
 * @throws ProblemError 403
 */
export function withinTenant(selection: Selection, { name, role }: Pick<Tenant, 'name' | 'role'>): Selection {
  const { filter } = selection;
  if (role === 'admin') return selection;
  if (filter.tenant !== undefined && filter.tenant !== name) {
    throw gatewayError('forbidden', 'an operator sees the dead letters of the own tenant only', {
      field: 'query.tenant',
      fix: `leave tenant out, or use a credential with role admin`,
    });
  }
  return { ...selection, filter: { ...filter, tenant: name } };
}

/** `all` must be said where nothing else is: an empty filter that takes the whole list is a slip. */
function mustSelect(where: Source['where'], { tenant, cause, since, until }: Source['values'], all: string): void {
  if ([tenant, cause, since, until].some((value) => value !== undefined)) return;
  throw bad(where, 'all', `give tenant, cause, since or until; or say ${all} every dead letter of the app`);
}

function select({ values, where, limit }: Source, { uid }: ServedApp, cursors: Cursors): Selection {
  const { cursor: sealed } = values;
  const cursor = sealed === undefined ? undefined : cursors.open(uid, sealed);
  if (sealed !== undefined && cursor === undefined) {
    throw bad(where, 'cursor', 'give the cursor of the page before, as it was answered for this app');
  }
  return {
    filter: { ...whose(where, values), ...when(where, values) },
    limit: count(where, values.limit, limit),
    ...(cursor === undefined ? {} : { cursor }),
  };
}

function whose(where: Source['where'], { tenant, cause }: Source['values']): DeadLetterFilter {
  if (tenant !== undefined && !TENANT.test(tenant)) throw bad(where, 'tenant', 'give the name of one tenant');
  const kind = CAUSES.find((one) => one === cause);
  if (cause !== undefined && kind === undefined) throw bad(where, 'cause', `give one of ${CAUSES.join(', ')}`);
  return { ...(tenant === undefined ? {} : { tenant }), ...(kind === undefined ? {} : { kind }) };
}

function when(where: Source['where'], values: Source['values']): DeadLetterFilter {
  const since = time(where, 'since', values.since);
  const until = time(where, 'until', values.until);
  if (since !== undefined && until !== undefined && since >= until)
    throw bad(where, 'until', 'give a time after since');
  return { ...(since === undefined ? {} : { since }), ...(until === undefined ? {} : { until }) };
}

function time(where: Source['where'], name: Name, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const at = parseTime(text);
  if (at === undefined || at < 0) throw bad(where, name, 'give an RFC 3339 time with its zone (2026-01-31T12:00:00Z)');
  return at;
}

function count(where: Source['where'], text: string | undefined, limit: Source['limit']): number {
  if (text === undefined) return limit.default;
  const value = /^[0-9]{1,6}$/.test(text) ? Number(text) : 0;
  if (value < 1 || value > limit.max) throw bad(where, 'limit', `give an integer from 1 to ${limit.max}`);
  return value;
}

function bad(where: Source['where'], name: string, fix: string): Error {
  const field = name === '' ? where : `${where}.${name}`;
  return gatewayError(where === 'query' ? 'bad-query' : 'bad-body', `${field} is not valid`, { field, fix });
}
