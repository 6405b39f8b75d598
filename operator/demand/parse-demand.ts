// SPDX-License-Identifier: Apache-2.0
import { isObject } from '#base/json.ts';
import type { AppDemandWire } from '#base/wire/demand.ts';
import { operatorError } from '../errors.ts';

/**
 * The gateway's answer, checked where a wrong value would become a wrong number of units. Unknown members are ignored, so that a
 * newer gateway may say more.
 */
export function parseDemand(text: string): readonly AppDemandWire[] {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch (err) {
    throw operatorError('gateway-malformed', 'the gateway answered demand with something that is no JSON', err);
  }
  const apps = isObject(document) ? document['apps'] : undefined;
  if (!Array.isArray(apps)) throw operatorError('gateway-malformed', 'the demand of the gateway has no list apps');
  apps.forEach((app: unknown, index) => {
    const wrong = wrongField(app);
    if (wrong !== undefined) throw operatorError('gateway-malformed', `apps[${index}].${wrong} of the demand is wrong`);
  });
  return apps as AppDemandWire[];
}

function wrongField(app: unknown): string | undefined {
  if (!isObject(app)) return 'uid';
  for (const name of ['uid', 'namespace', 'name', 'revision']) if (typeof app[name] !== 'string') return name;
  for (const name of ['queued', 'leased']) if (!isCount(app[name])) return name;
  const byRevision = app['queued_by_revision'];
  if (!isObject(byRevision) || !Object.values(byRevision).every(isCount)) return 'queued_by_revision';
  if (app['oldest_queued_at'] !== undefined && !isCount(app['oldest_queued_at'])) return 'oldest_queued_at';
  const units = app['units'];
  if (!Array.isArray(units)) return 'units';
  const bad = units.findIndex((unit: unknown) => !isUnit(unit));
  return bad < 0 ? undefined : `units[${bad}]`;
}

function isUnit(unit: unknown): boolean {
  if (!isObject(unit)) return false;
  const { unit: name, revision, leases, last_seen_at: seen, retired } = unit;
  const strings = typeof name === 'string' && typeof revision === 'string';
  return strings && isCount(leases) && isCount(seen) && typeof retired === 'boolean';
}

function isCount(value: unknown): boolean {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0;
}
