// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto';
import { systemClock } from '#base/clock.ts';
import { seededRandom } from '#base/random.ts';
import type { Random } from '#base/random.ts';
import { uuid7 } from '#base/uuid7.ts';
import type { Lease, LeaseQueue, NewRequest } from '#gateway/queue/lease-queue.ts';
import { T0, text } from './lease-queue.harness.ts';

export interface SimTenant {
  readonly name: string;
  readonly weight: number;
  /** Service time of its next request, whole ms. */
  readonly serviceMs: (random: Random) => number;
  /** Whether its requests announce what they cost; else the queue has to learn it. */
  readonly isExact?: boolean;
  /** Queued at the start and never again; absent = always a few hundred. */
  readonly flood?: number;
}

interface Slot {
  readonly unit: string;
  lease: Lease | undefined;
  tenant: string;
  serviceMs: number;
  startedAt: number;
  freeAt: number;
}

export interface Given {
  readonly tenant: string;
  readonly serviceMs: number;
}

const REFILL = 400;
const LOW = 50;

/** GPUs that are always busy, on one queue, in simulated time: what is measured is only whom the queue gives them to. */
export class Simulation {
  /** All leases in their order. */
  readonly given: Given[] = [];
  /** Furthest that any tenant was behind its fluid share at any moment, per unit of its weight, in ms of GPU time. */
  worstLag = 0;
  readonly app = `app-${randomBytes(6).toString('hex')}`;
  readonly #queue: LeaseQueue;
  readonly #random: Random;
  readonly #tenants = new Map<string, SimTenant>();
  readonly #queued = new Map<string, number>();
  readonly #serviceOf = new Map<string, number>();
  readonly #slots: readonly Slot[];
  /** GPU time received, and entitled to while all were backlogged. */
  readonly #received = new Map<string, number>();
  readonly #entitled = new Map<string, number>();
  #now = T0;

  constructor(queue: LeaseQueue, slots: number, seed: number) {
    this.#queue = queue;
    this.#random = seededRandom(seed);
    this.#slots = Array.from({ length: slots }, (_, i) => ({
      unit: `u${i}`,
      lease: undefined,
      tenant: '',
      serviceMs: 0,
      startedAt: T0,
      freeAt: T0,
    }));
  }

  async join(tenant: SimTenant): Promise<void> {
    this.#tenants.set(tenant.name, tenant);
    for (let left = tenant.flood ?? REFILL; left > 0; left -= REFILL)
      await this.#enqueue(tenant, Math.min(left, REFILL));
  }

  /** Until so many leases more were given. */
  async run(leases: number): Promise<void> {
    for (const end = this.given.length + leases; this.given.length < end;) {
      const slot = this.#slots.reduce((a, b) => (b.freeAt < a.freeAt ? b : a));
      this.#advance(slot.freeAt);
      if (slot.lease !== undefined) await this.#complete(slot, slot.lease);
      await this.#lease(slot);
    }
  }

  async #enqueue(tenant: SimTenant, count: number): Promise<void> {
    const requests = Array.from({ length: count }, () => this.#request(tenant));
    const outcomes = await this.#queue.enqueue(requests, this.#now);
    if (outcomes.some((one) => one.kind !== 'queued')) throw new Error('the simulation could not enqueue');
    this.#queued.set(tenant.name, (this.#queued.get(tenant.name) ?? 0) + count);
  }

  #request({ name, weight, serviceMs, isExact = false }: SimTenant): NewRequest {
    const id = uuid7({ ...systemClock, now: () => this.#now }, this.#random);
    const service = serviceMs(this.#random);
    this.#serviceOf.set(id, service);
    return {
      id,
      app: this.app,
      tenant: name,
      lane: 'online',
      revision: 'r1',
      priority: 0,
      cost: isExact ? service * 1_000 : 0,
      share: { weight },
      body: text(''),
      dedupeKey: id,
      retry: { maxAttempts: 1, maxLosses: 0 },
      retentionMs: 1_000,
    };
  }

  async #complete(slot: Slot, { id, token }: Lease): Promise<void> {
    const done = { id, token, result: text(''), serviceMicros: slot.serviceMs * 1_000 };
    const [outcome] = await this.#queue.complete(this.app, slot.unit, [done], this.#now);
    if (outcome !== 'committed') throw new Error(`a completion of the simulation was ${outcome}`);
    slot.lease = undefined;
  }

  async #lease(slot: Slot): Promise<void> {
    const { leases } = await this.#queue.lease(
      {
        app: this.app,
        unit: slot.unit,
        revision: 'r1',
        lanes: ['online', 'batch'],
        max: 1,
        leaseMs: 600_000,
        nonces: [Buffer.from(this.#random.bytes(8)).toString('hex')],
        currentRevision: 'r1',
        floor: 99,
        lingerMs: 0,
        desiredState: 'Ready',
      },
      this.#now,
    );
    const [lease] = leases;
    if (lease === undefined) throw new Error('the simulation ran dry');
    const { tenant } = lease.record;
    const serviceMs = this.#serviceOf.get(lease.id)!;
    this.#serviceOf.delete(lease.id);
    Object.assign(slot, { lease, tenant, serviceMs, startedAt: this.#now, freeAt: this.#now + serviceMs });
    this.given.push({ tenant, serviceMs });
    const left = this.#queued.get(tenant)! - 1;
    this.#queued.set(tenant, left);
    const known = this.#tenants.get(tenant)!;
    if (known.flood === undefined && left < LOW) await this.#enqueue(known, REFILL);
  }

  /** Between two ends of attempts every slot works for one tenant, so lags are furthest at an end. */
  #advance(to: number): void {
    const passed = to - this.#now;
    this.#now = to;
    if (passed === 0) return;
    const weights = [...this.#tenants.values()].reduce((sum, one) => sum + one.weight, 0);
    const add = (times: Map<string, number>, name: string, ms: number): void =>
      void times.set(name, (times.get(name) ?? 0) + ms);
    for (const slot of this.#slots) if (slot.lease !== undefined) add(this.#received, slot.tenant, passed);
    const busy = this.#slots.filter((slot) => slot.lease !== undefined).length;
    for (const { name, weight } of this.#tenants.values()) {
      add(this.#entitled, name, (passed * busy * weight) / weights);
      const lag = this.#entitled.get(name)! - (this.#received.get(name) ?? 0);
      this.worstLag = Math.max(this.worstLag, lag / weight);
    }
  }
}

/** Furthest, in percentage points, that any tenant's part of the GPU time was from its entitled one in any window of so many leases. */
export function worstShare(given: readonly Given[], tenants: readonly SimTenant[], window: number): number {
  const weights = tenants.reduce((sum, one) => sum + one.weight, 0);
  const parts = new Map(tenants.map((one) => [one.name, 0]));
  let total = 0;
  let worst = 0;
  const count = ({ tenant, serviceMs }: Given, sign: 1 | -1): void => {
    parts.set(tenant, parts.get(tenant)! + sign * serviceMs);
    total += sign * serviceMs;
  };
  for (const [i, one] of given.entries()) {
    count(one, 1);
    if (i >= window) count(given[i - window]!, -1);
    if (i < window - 1) continue;
    for (const { name, weight } of tenants)
      worst = Math.max(worst, Math.abs(parts.get(name)! / total - weight / weights) * 100);
  }
  return worst;
}
