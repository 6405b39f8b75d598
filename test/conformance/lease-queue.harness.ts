// SPDX-License-Identifier: Apache-2.0
import { createHash, randomBytes } from 'node:crypto';
import { inspect, isDeepStrictEqual } from 'node:util';
import { systemClock } from '#base/clock.ts';
import { systemRandom } from '#base/random.ts';
import { uuid7 } from '#base/uuid7.ts';
import type {
  Cause,
  CommitOutcome,
  EnqueueOutcome,
  ExpireStep,
  FailOutcome,
  Lease,
  LeaseAnswer,
  LeaseQueue,
  LeaseRequest,
  NewRequest,
  Payload,
  QueueEvent,
  RequestRecord,
} from '#gateway/queue/lease-queue.ts';
import type { RequestOutcome } from '#gateway/queue/request-outcome.ts';

/** How a suite gets queues of one driver. */
export interface QueueDriver {
  readonly name: string;
  /** An empty queue that nobody else uses. */
  fresh(): Promise<LeaseQueue>;
}

/** A moment in the future: Redis drops nothing at once that ends after it by the tests' time. */
export const T0 = 1_900_000_000_000;
export const LEASE_MS = 30_000;

export const id = (): string => uuid7(systemClock, systemRandom);
export const nonce = (): string => randomBytes(8).toString('hex');
export const sha = (text: string): string => createHash('sha256').update(text).digest('hex');
export const text = (body: string): Payload => ({
  contentType: 'text/plain',
  bytes: Buffer.byteLength(body),
  ...(body === '' ? {} : { inline: Buffer.from(body) }),
});

/** What a client hears of its request; of its retention once it has ended. */
function toldOf(told: RequestOutcome | undefined): Record<string, unknown> {
  if (told === undefined) return {};
  const { id: which, app, state, attempts, finishedAt, result, cause, deadLetter, serviceMicros, retentionMs } = told;
  const facts = { id: which, app, state, attempts, deadLetter };
  return finishedAt === undefined ? facts : { ...facts, finishedAt, result, cause, serviceMicros, retentionMs };
}

/** One app on one queue, with a time that the test moves. */
export class Scenario {
  readonly queue: LeaseQueue;
  readonly app = `app-${randomBytes(6).toString('hex')}`;
  now = T0;

  constructor(queue: LeaseQueue) {
    this.queue = queue;
  }

  request(changes: Partial<NewRequest> = {}): NewRequest {
    return {
      id: id(),
      app: this.app,
      tenant: 'acme',
      lane: 'online',
      revision: 'r1',
      priority: 0,
      cost: 1_000,
      body: text('in'),
      dedupeKey: nonce(),
      retry: { maxAttempts: 3, maxLosses: 2 },
      retentionMs: 60_000,
      ...changes,
    };
  }

  /** Enqueues one; answers its id. */
  async add(changes: Partial<NewRequest> = {}): Promise<string> {
    const outcome = await this.offer(changes);
    if (outcome.kind !== 'queued') throw new Error(`expected a queued request, got ${outcome.kind}`);
    return outcome.record.id;
  }

  async offer(changes: Partial<NewRequest> = {}): Promise<EnqueueOutcome> {
    const [outcome] = await this.queue.enqueue([this.request(changes)], this.now);
    return outcome!;
  }

  ask(unit: string, changes: Partial<LeaseRequest> = {}): Promise<LeaseAnswer> {
    const max = changes.max ?? 1;
    const request: LeaseRequest = {
      app: this.app,
      unit,
      revision: 'r1',
      lanes: ['online', 'batch'],
      max,
      leaseMs: LEASE_MS,
      nonces: Array.from({ length: max }, nonce),
      currentRevision: changes.revision ?? 'r1',
      floor: 0,
      lingerMs: 10_000,
      desiredState: 'Ready',
      ...changes,
    };
    return this.queue.lease(request, this.now);
  }

  /** Leases one; fails when nothing is given. */
  async take(unit = 'u1', changes: Partial<LeaseRequest> = {}): Promise<Lease> {
    const [lease] = (await this.ask(unit, changes)).leases;
    if (lease === undefined) throw new Error('expected a lease, got none');
    return lease;
  }

  /** Ids in the order of leasing, until nothing is left. */
  async drain(unit = 'u1', changes: Partial<LeaseRequest> = {}): Promise<string[]> {
    const ids: string[] = [];
    for (;;) {
      const { leases } = await this.ask(unit, changes);
      if (leases.length === 0) return ids;
      ids.push(...leases.map((lease) => lease.id));
    }
  }

  async complete(lease: Lease, unit = 'u1', result: Payload = text('out')): Promise<CommitOutcome> {
    const [outcome] = await this.queue.complete(
      this.app,
      unit,
      [{ id: lease.id, token: lease.token, result, serviceMicros: 1_234 }],
      this.now,
    );
    return outcome!;
  }

  /** One step of ten keys at most. */
  async sweep(): Promise<readonly string[]> {
    return (await this.queue.sweep(10, this.now)).keys;
  }

  async fail(lease: Lease, kind: Cause['kind'] = 'handler', unit = 'u1'): Promise<FailOutcome> {
    const failure = { id: lease.id, token: lease.token, cause: { kind, message: `because ${kind}` } };
    const [outcome] = await this.queue.fail(this.app, unit, [failure], this.now);
    return outcome!;
  }

  async release(lease: Lease, unit = 'u1'): Promise<string> {
    const [outcome] = await this.queue.release(this.app, unit, [lease], this.now);
    return outcome!;
  }

  async extend(lease: Lease, unit = 'u1'): Promise<{ ok: boolean; cancel?: boolean; expiresAt?: number }> {
    const [outcome] = await this.queue.extend(this.app, unit, [lease], LEASE_MS, this.now);
    return outcome!;
  }

  async record(which: string): Promise<RequestRecord> {
    const found = await this.queue.get(this.app, which);
    if (found === undefined) throw new Error(`no record ${which}`);
    // Whatever a test looks at: who waits for it hears the same.
    const outcome = await this.queue.outcome(this.app, which);
    if (!isDeepStrictEqual(toldOf(outcome), toldOf(found)))
      throw new Error(`the outcome ${inspect(outcome)} is not what the record says: ${inspect(found)}`);
    return found;
  }

  expire(current = 'r1'): Promise<ExpireStep> {
    return this.queue.expire(new Map([[this.app, current]]), this.now);
  }

  /** Events of this app from now on. */
  listen(): { readonly events: QueueEvent[]; stop(): void } {
    const events: QueueEvent[] = [];
    const stop = this.queue.subscribe((event) => {
      if (event.app === this.app) events.push(event);
    });
    return { events, stop };
  }
}

/** Runs a test on an app of a fresh queue and closes the queue after it. */
export function onFresh(driver: QueueDriver, test: (scenario: Scenario) => Promise<void>): () => Promise<void> {
  return async () => {
    const queue = await driver.fresh();
    try {
      await test(new Scenario(queue));
    } finally {
      await queue.close();
    }
  };
}

/** Buffers and typed arrays of the same bytes are equal here. */
export function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('base64');
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
}
