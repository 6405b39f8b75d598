// SPDX-License-Identifier: Apache-2.0
import { buffer } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { systemClock } from '#base/clock.ts';
import { silentLogger } from '#base/logger.ts';
import { createRegistry } from '#base/metrics.ts';
import { systemRandom } from '#base/random.ts';
import type { LeaseQueue, Payload, QueueEvent, RequestRecord } from '#gateway/queue/lease-queue.ts';
import { ALL_KEYS } from '#gateway/store/keys.ts';
import { createSweeper } from '#gateway/store/sweeper.ts';
import { orphanSweepLater } from '#test/integration/gateway.harness.ts';
import type { Ended, Truth } from './checker.ts';
import { compareCounts, offeredIds, recordsOf } from './counts.ts';
import { APP_UID } from './fleet.ts';
import { createHistory } from './history.ts';
import { purgeApp, retireDead } from './operator.ts';
import { expire } from './run-step.ts';
import { tapQueue } from './tap.ts';
import { answerOf } from './work.ts';
import type { Scene } from './scene.ts';
import type { World } from './world.ts';

/** Looks at most; each moves time on when nothing else moves: together far beyond every lease, budget and handler. */
const LOOKS = 400;
const FEW_MS = 500;
const MANY_MS = 10_000;
/** Past every retention: of results, of dead letters (14 days), of retired units and closed apps (7 days). */
const LATER_MS = 20 * 24 * 3_600_000;
const SWEEPS = 12;
const SWEEP_LIMIT = 500;

/** The faults are over: whatever is left must now come to its end by itself. True when it did. */
export async function comeToRest(world: World, purging: boolean): Promise<boolean> {
  world.setRate(0);
  // What waits for a place must hear of it.
  world.tenants.change();
  if (purging) world.delete();
  let calls = -1;
  for (let look = 0; look < LOOKS; look++) {
    await world.fillGateways();
    for (const gateway of world.live()) gateway.arm('', 'fail-before');
    if (!world.liveUnits().some(({ revision }) => revision === world.revision)) await world.addUnit(4, 2);
    await expire(world);
    await retireDead(world);
    const gone = purging && (await purgeApp(world));
    wakeAll(world);
    await delay(1);
    if (world.client.underWay() + world.adminCalls === 0 && (gone || (!purging && (await isEmpty(world))))) return true;
    const now = world.gateways.reduce((sum, { tap }) => sum + tap.calls(), 0);
    await world.time.advance(now - calls > QUIET_CALLS ? FEW_MS : MANY_MS);
    calls = now;
  }
  return false;
}

/** What a look itself, and the units that wait, ask of the queue. */
const QUIET_CALLS = 6;

function wakeAll(world: World): void {
  const events: QueueEvent[] = offeredIds(world).map((id) => ({ type: 'done', app: APP_UID, id }));
  for (const { tap } of world.live()) tap.nudge([{ type: 'ready', app: APP_UID }, ...events]);
}

async function isEmpty(world: World): Promise<boolean> {
  const { queued, leased } = await world.backend.view().demand(APP_UID);
  return queued === 0 && leased === 0;
}

/** How everything ended, and whether the queue has counted it right. */
export async function truthOf(scene: Scene, purged: boolean): Promise<{ truth: Truth; violations: string[] }> {
  const records = await recordsOf(scene);
  const requests = new Map<string, Ended>();
  for (const record of records) {
    const bytes = record.result === undefined ? undefined : await bytesOf(scene, record.result);
    const answer = bytes === undefined ? undefined : answerOf(bytes);
    requests.set(record.id, { record, ...(answer === undefined ? {} : { answer }) });
  }
  const queue = scene.backend.view();
  const violations = compareCounts(await queue.demand(APP_UID), records, scene.caps());
  return { truth: { requests, purged }, violations: [...violations, ...(await lettersListed(queue, records))] };
}

/** The list of dead letters is what the records say. */
async function lettersListed(queue: LeaseQueue, records: readonly RequestRecord[]): Promise<string[]> {
  const dead = records.flatMap(({ id, deadLetter }) => (deadLetter ? [id] : [])).toSorted();
  const { letters, cursor } = await queue.deadLetters(APP_UID, {}, records.length + 1);
  const listed = letters.map(({ id }) => id).toSorted();
  const count = await queue.deadLetterCount(APP_UID);
  if (isDeepStrictEqual([listed, count, cursor], [dead, dead.length, undefined])) return [];
  return [`miscounted: ${count} dead letters, ${listed.join()} listed, by the records ${dead.join()}`];
}

async function bytesOf({ store }: Scene, { inline, key }: Payload): Promise<Uint8Array | undefined> {
  if (inline !== undefined || key === undefined) return inline;
  const found = await store.get(key).catch(() => undefined);
  return found === undefined ? undefined : await buffer(found.body);
}

/** After every retention nothing may be left that has no owner: no row, no key, no object; after the app's purge nothing at all. */
export async function leftoversOf(scene: Scene): Promise<string[]> {
  const { backend, store, apps, time } = scene;
  let later = time.now() + LATER_MS;
  backend.revive?.();
  const { queue } = tapQueue({ queue: backend.view(), history: createHistory(), now: () => later });
  const registry = createRegistry('chaos', false);
  const parts = { queue, store, clock: systemClock, random: systemRandom, logger: silentLogger, registry };
  const sweeper = createSweeper(parts);
  let objects: readonly string[] = [];
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    await queue.expire(new Map([[APP_UID, scene.revision]]));
    await sweeper.run();
    await orphanSweepLater({ queue, store, apps }, later - Date.now()).step();
    objects = (await store.list(ALL_KEYS)).objects.map(({ key }) => key);
    later += 2 * 3_600_000;
    // A letter stays for one sweep longer than the request that it was redriven as, and that may be a letter as well.
    if (sweep >= 2 && objects.length === 0 && (await backend.leftovers('app')).length === 0) break;
  }
  const rows = await backend.leftovers('app');
  for (let step = 0; step < SWEEPS; step++) if ((await queue.purge(APP_UID, SWEEP_LIMIT)).done) break;
  const purged = await backend.leftovers('purged');
  return [
    ...objects.map((key) => `left over: object ${key}`),
    ...rows.map((row) => `left over: ${row}`),
    ...purged.map((row) => `left over after the purge: ${row}`),
  ];
}
