// SPDX-License-Identifier: Apache-2.0
import { isDeepStrictEqual } from 'node:util';
import type { AppDemand, RequestRecord } from '#gateway/queue/lease-queue.ts';
import { APP_UID } from './fleet.ts';
import type { Scene } from './scene.ts';
import type { Caps } from './shares.ts';
import type { World } from './world.ts';

/** Every request that any gateway ever asked the queue to take. */
export function offeredIds({ history }: Pick<Scene, 'history'>): string[] {
  return [...new Set(history.all().flatMap((seen) => (seen.type === 'offered' ? [seen.id] : [])))];
}

/** Records of all requests that the queue knows. */
export async function recordsOf(scene: Scene): Promise<RequestRecord[]> {
  const found = await Promise.all(offeredIds(scene).map((id) => scene.backend.view().get(APP_UID, id)));
  return found.flatMap((record) => record ?? []);
}

/** Compares what the queue has counted with its records, if nothing moves meanwhile; else says nothing. */
export async function countNow(world: World): Promise<string[]> {
  if (world.live().length === 0 || !idle(world)) return [];
  const calls = (): number => world.gateways.reduce((sum, { tap }) => sum + tap.calls(), 0);
  const before = calls();
  const demand = await world.backend.view().demand(APP_UID);
  const records = await recordsOf(world);
  if (world.live().length === 0 || !isDeepStrictEqual(await world.backend.view().demand(APP_UID), demand)) return [];
  return calls() === before && idle(world) ? compareCounts(demand, records, world.caps()) : [];
}

function idle(world: World): boolean {
  return world.live().every(({ tap }) => tap.underWay() === 0);
}

/** @param records all of the app */
export function compareCounts(demand: AppDemand, records: readonly RequestRecord[], caps: Caps): string[] {
  const queued = records.filter(({ state }) => state === 'queued');
  const leased = records.filter(({ state }) => state === 'leased');
  const wrong: string[] = [];
  const compare = (what: string, counted: unknown, true_: unknown): void => {
    if (!isDeepStrictEqual(counted, true_))
      wrong.push(`miscounted: ${what} is ${JSON.stringify(counted)}, by the records ${JSON.stringify(true_)}`);
  };
  compare('queued', demand.queued, queued.length);
  compare('leased', demand.leased, leased.length);
  const byRevision = Object.entries(demand.queuedByRevision).filter(([, count]) => count > 0);
  compare('queued by revision', Object.fromEntries(byRevision), tally(queued.map(({ revision }) => revision)));
  const holders = tally(leased.map(({ attempts }) => attempts.at(-1)?.unit ?? 'nobody'));
  const holding = demand.units.filter(({ leases }) => leases !== 0).map(({ unit, leases }) => [unit, leases] as const);
  compare('leases by unit', Object.fromEntries(holding), holders);
  const ofBob = leased.filter(({ tenant }) => tenant === 'bob').length;
  if (ofBob > caps.bobInFlight) wrong.push(`over the cap: bob holds ${ofBob} leases of ${caps.bobInFlight}`);
  // A redrive goes in whatever waits.
  const made = new Set(records.flatMap(({ redrivenAs }) => redrivenAs ?? []));
  const ofEve = queued.filter(({ id, tenant, epoch }) => tenant === 'eve' && epoch === 0 && !made.has(id)).length;
  if (ofEve > caps.eveQueued) wrong.push(`over the cap: eve has ${ofEve} queued of ${caps.eveQueued}`);
  return wrong;
}

function tally(names: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}
