// SPDX-License-Identifier: Apache-2.0
import type { LeaseToken } from '#gateway/queue/lease-queue.ts';
import { recordsOf } from './counts.ts';
import { APP_UID } from './fleet.ts';
import { LEASE_MS } from './gateway-node.ts';
import type { World } from './world.ts';

/** The nonce most often: it is what nothing else stands in for. */
const WAYS = ['nonce', 'nonce', 'epoch', 'unit'] as const;
const CALLS = ['complete', 'fail', 'release', 'extend'] as const;

/**
 * A call out of a past that the queue has forgotten (its log's tail was lost, and the epoch counts anew) or of somebody who guesses: a
 * token of which one part is not the last lease's. It must change nothing.
 */
export async function forge(world: World): Promise<void> {
  if (world.live().length === 0) return;
  const leases = leasesIn(world);
  const live = new Map((await recordsOf(world)).map((record) => [record.id, record]));
  const target = leases.findLast(({ id, epoch }) => {
    const record = live.get(id);
    return record?.state === 'leased' && record.epoch === epoch;
  });
  if (target === undefined || world.live().length === 0) return;
  const way = one(world, WAYS);
  const call = one(world, CALLS);
  const { id, epoch, nonce } = target;
  const token = way === 'nonce' ? { epoch, nonce: other(nonce) } : { epoch: epoch + (way === 'epoch' ? 1 : 0), nonce };
  const unit = way === 'unit' ? 'nobody' : target.unit;
  const start = world.history.now();
  const outcome = await send(world, call, unit, { id, token }).catch(() => 'lost');
  const span = { start, end: world.history.now() };
  world.history.add({ type: 'settled', call: 'forged', id, ...token, unit, outcome, ...span });
}

function leasesIn({ history }: World) {
  return history.all().flatMap((seen) => (seen.type === 'leased' ? [seen] : []));
}

/** A unit that has not heard of a cancel completes: its result is dropped. */
export async function completeDeafly(world: World): Promise<void> {
  if (world.live().length === 0) return;
  const leases = leasesIn(world);
  const live = new Map((await recordsOf(world)).map((record) => [record.id, record]));
  const last = leases.findLast(({ id, epoch }) => {
    const record = live.get(id);
    return record?.state === 'leased' && record.cancelRequested && record.epoch === epoch;
  });
  if (last === undefined) return;
  const { id, epoch, nonce, unit } = last;
  const start = world.history.now();
  world.history.add({ type: 'ending', id, nonce, start, end: start });
  const outcome = await send(world, 'complete', unit, { id, token: { epoch, nonce } }).catch(() => 'lost');
  const span = { start, end: world.history.now() };
  world.history.add({ type: 'settled', call: 'complete', id, epoch, nonce, unit, outcome, ...span });
}

async function send(
  world: World,
  call: (typeof CALLS)[number],
  unit: string,
  held: { readonly id: string; readonly token: LeaseToken },
): Promise<string> {
  const queue = world.backend.view();
  const now = world.time.now();
  if (call === 'extend') {
    const [answer] = await queue.extend(APP_UID, unit, [held], LEASE_MS, now);
    return answer?.ok === true ? 'extended' : 'lost';
  }
  if (call === 'release') return (await queue.release(APP_UID, unit, [held], now))[0] ?? 'none';
  if (call === 'fail') {
    const cause = { kind: 'handler', message: 'forged' } as const;
    return (await queue.fail(APP_UID, unit, [{ ...held, cause }], now))[0] ?? 'none';
  }
  const inline = Buffer.from('"forged"');
  const result = { contentType: 'application/json', bytes: inline.length, inline };
  return (await queue.complete(APP_UID, unit, [{ ...held, result, serviceMicros: 1 }], now))[0] ?? 'none';
}

function one<T>(world: World, list: readonly T[]): T {
  return list[Math.floor(world.random.fraction() * list.length)] as T;
}

function other(nonce: string): string {
  return `${nonce.slice(0, -1)}${nonce.endsWith('0') ? '1' : '0'}`;
}
