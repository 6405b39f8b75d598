// SPDX-License-Identifier: Apache-2.0
import { systemClock } from '#base/clock.ts';
import { systemRandom } from '#base/random.ts';
import { uuid7 } from '#base/uuid7.ts';
import type { Lease, LeaseQueue, NewRequest } from '#gateway/queue/lease-queue.ts';
import { APP_UID } from './fleet.ts';

/** In µGPU-seconds: what each request announces. */
const COST = 1_000_000;
/** What the first one really takes. */
const LONG = 10 * COST;
const LEASE_MS = 60_000;

/** How the first attempt ends, and who is leased from then on: tenants whose attempts cost more than they announced wait for the others. */
const CASES = [
  { end: 'complete', order: ['p1', 'p2', 'p2', 'p2', 'p1'] },
  { end: 'input', order: ['p1', 'p2', 'p2', 'p2', 'p1'] },
  { end: 'release', order: ['p1', 'p1', 'p2', 'p1', 'p2', 'p2'] },
] as const;

/**
 * Whether an idle queue still charges what attempts really take: a charge that is wrong shows in nothing but the order of later leases.
 * @param queue of an app without work, whose every call gets `clock.now` as its time
 */
export async function probeOrder(
  queue: LeaseQueue,
  revision: string,
  clock: { now: number },
  pick: number,
): Promise<string[]> {
  const found = CASES[pick % CASES.length] ?? CASES[0];
  const ask = async (): Promise<Lease | undefined> => (await queue.lease(leaseCall(revision)))?.leases[0];
  await queue.enqueue([...requests('p1', 2, revision, clock), ...requests('p2', 3, revision, clock)]);
  const order: string[] = [];
  for (;;) {
    const lease = await ask();
    if (lease === undefined || order.length >= found.order.length) break;
    order.push(lease.record.tenant);
    if (order.length === 1) await endFirst(queue, lease, found.end, clock);
    else await complete(queue, lease, COST);
  }
  return order.join() === found.order.join()
    ? []
    : [`out of order: after ${found.end} of p1's first, leases went to ${order.join()}, not ${found.order.join()}`];
}

async function endFirst(
  queue: LeaseQueue,
  lease: Lease,
  end: (typeof CASES)[number]['end'],
  clock: { now: number },
): Promise<void> {
  if (end === 'complete') return complete(queue, lease, LONG);
  if (end === 'release') return void (await queue.release(APP_UID, UNIT, [lease]));
  clock.now += LONG / 1_000;
  await queue.fail(APP_UID, UNIT, [{ ...lease, cause: { kind: 'input', message: 'bad' } }]);
}

const UNIT = 'probe';

async function complete(queue: LeaseQueue, lease: Lease, serviceMicros: number): Promise<void> {
  const result = { contentType: 'text/plain', bytes: 0 };
  await queue.complete(APP_UID, UNIT, [{ id: lease.id, token: lease.token, result, serviceMicros }]);
}

function leaseCall(revision: string): Parameters<LeaseQueue['lease']>[0] {
  const nonces = [Buffer.from(systemRandom.bytes(8)).toString('hex')];
  const verdict = { floor: 1, lingerMs: LEASE_MS, desiredState: 'Ready' } as const;
  const lanes = ['online'] as const;
  return {
    app: APP_UID,
    unit: UNIT,
    revision,
    currentRevision: revision,
    lanes,
    max: 1,
    leaseMs: LEASE_MS,
    nonces,
    ...verdict,
  };
}

function requests(tenant: string, count: number, revision: string, { now }: { readonly now: number }): NewRequest[] {
  return Array.from({ length: count }, () => {
    const id = uuid7({ ...systemClock, now: () => now }, systemRandom);
    return {
      id,
      app: APP_UID,
      tenant,
      lane: 'online',
      revision,
      priority: 0,
      cost: COST,
      share: { weight: 1 },
      body: { contentType: 'text/plain', bytes: 0 },
      dedupeKey: id,
      retry: { maxAttempts: 1, maxLosses: 0 },
      retentionMs: LEASE_MS,
    };
  });
}
