// SPDX-License-Identifier: Apache-2.0
import * as fc from 'fast-check';
import type { Cause, Lane, LeaseQueue, LeaseRequest, NewRequest } from '#gateway/queue/lease-queue.ts';
import { T0, id, nonce, plain, text } from './lease-queue.harness.ts';

/** One step of a random history; numbers pick among what exists when the step is played. */
export type Step =
  | { readonly do: 'tick'; readonly ms: number }
  | {
      readonly do: 'enqueue';
      readonly tenant: string;
      readonly lane: Lane;
      readonly revision: string;
      readonly priority: number;
      readonly deadlineIn: number;
      readonly key: number;
      readonly stored: boolean;
      readonly budget: number;
    }
  | {
      readonly do: 'lease';
      readonly unit: string;
      readonly revision: string;
      readonly current: string;
      readonly max: number;
      readonly lanes: readonly Lane[];
      readonly floor: number;
      readonly state: LeaseRequest['desiredState'];
    }
  | {
      readonly do: 'complete' | 'release' | 'extend' | 'note';
      readonly pick: number;
      readonly forge: 'no' | 'epoch' | 'nonce' | 'unit';
    }
  | { readonly do: 'fail'; readonly pick: number; readonly kind: Cause['kind'] }
  | { readonly do: 'cancel'; readonly pick: number }
  | { readonly do: 'retire'; readonly unit: string }
  | { readonly do: 'expire'; readonly current: string }
  | { readonly do: 'sweep' }
  | { readonly do: 'purge' };

const units = fc.constantFrom('u1', 'u2', 'u3', 'u4');
const revisions = fc.constantFrom('r1', 'r1', 'r2');
const lanes = fc.constantFrom<Lane>('online', 'online', 'batch');
const pick = fc.nat(30);

const steps: fc.WeightedArbitrary<Step>[] = [
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('tick' as const), ms: fc.constantFrom(1, 500, 9_000, 31_000, 1_000_000) }),
  },
  {
    weight: 10,
    arbitrary: fc.record({
      do: fc.constant('enqueue' as const),
      tenant: fc.constantFrom('a', 'b', 'c'),
      lane: lanes,
      revision: revisions,
      priority: fc.constantFrom(-5, 0, 0, 0, 7),
      deadlineIn: fc.constantFrom(0, 0, 400, 20_000),
      key: fc.nat(20),
      stored: fc.boolean(),
      budget: fc.integer({ min: 1, max: 3 }),
    }),
  },
  {
    weight: 10,
    arbitrary: fc.record({
      do: fc.constant('lease' as const),
      unit: units,
      revision: revisions,
      current: revisions,
      max: fc.nat(3),
      lanes: fc.constantFrom<readonly Lane[]>(['online', 'batch'], ['online', 'batch'], ['online'], ['batch']),
      floor: fc.nat(2),
      state: fc.constantFrom(
        'Ready' as const,
        'Ready' as const,
        'Ready' as const,
        'Draining' as const,
        'Paused' as const,
      ),
    }),
  },
  {
    weight: 10,
    arbitrary: fc.record({
      do: fc.constantFrom(
        'complete' as const,
        'complete' as const,
        'release' as const,
        'extend' as const,
        'note' as const,
      ),
      pick,
      forge: fc.constantFrom(
        'no' as const,
        'no' as const,
        'no' as const,
        'epoch' as const,
        'nonce' as const,
        'unit' as const,
      ),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('fail' as const),
      pick,
      kind: fc.constantFrom<Cause['kind']>('handler', 'lost', 'input', 'timeout'),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('cancel' as const), pick }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('retire' as const), unit: units }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('expire' as const), current: revisions }) },
  { weight: 1, arbitrary: fc.constant({ do: 'sweep' as const }) },
];

/** Histories of one app; some end with its purge. */
export const histories: fc.Arbitrary<readonly Step[]> = fc
  .tuple(fc.array(fc.oneof(...steps), { minLength: 20, maxLength: 120, size: 'max' }), fc.nat(4))
  .map(([body, purges]) => [...body, ...Array.from({ length: purges }, (): Step => ({ do: 'purge' }))]);

interface Token {
  readonly id: string;
  readonly unit: string;
  readonly token: { readonly epoch: number; readonly nonce: string };
}

/** A step with everything random in it decided, so that two queues can be asked the very same. */
export type Call = (queue: LeaseQueue) => Promise<unknown>;

/** Turns steps into calls, from what the first queue answered so far. */
export class Player {
  readonly app: string;
  readonly ids: string[] = [];
  readonly tokens: Token[] = [];
  now = T0;

  constructor(app: string) {
    this.app = app;
  }

  call(step: Step): Call | undefined {
    switch (step.do) {
      case 'tick':
        this.now += step.ms;
        return undefined;
      case 'enqueue':
        return this.#enqueue(step);
      case 'lease':
        return this.#lease(step);
      case 'cancel':
        return this.#cancel(step.pick);
      case 'retire':
        return (queue) => queue.retire(this.app, step.unit, this.now);
      case 'expire':
        return async (queue) => (await queue.expire(new Map([[this.app, step.current]]), this.now)).expired;
      case 'sweep':
        return (queue) => sweepAll(queue, this.now);
      case 'purge':
        return async (queue) => {
          const { done, orphans } = await queue.purge(this.app, 1_000, this.now);
          await queue.forget(orphans);
          return { done, orphans: [...orphans].sort() };
        };
      default:
        return this.#held(step);
    }
  }

  #enqueue(step: Extract<Step, { do: 'enqueue' }>): Call {
    const request: NewRequest = {
      id: id(),
      app: this.app,
      tenant: step.tenant,
      lane: step.lane,
      revision: step.revision,
      priority: step.priority,
      ...(step.deadlineIn === 0 ? {} : { deadline: this.now + step.deadlineIn }),
      cost: 5,
      body: step.stored ? { contentType: 'a/b', bytes: 20_000, key: `body-${nonce()}` } : text('in'),
      dedupeKey: step.key < 5 ? `shared-${step.key}` : nonce(),
      ...(step.key === 0 ? { fingerprint: step.tenant } : {}),
      retry: { maxAttempts: step.budget, maxLosses: step.budget },
      retentionMs: 40_000,
    };
    this.ids.push(request.id);
    return (queue) => queue.enqueue([request], this.now);
  }

  #lease(step: Extract<Step, { do: 'lease' }>): Call {
    const request: LeaseRequest = {
      app: this.app,
      unit: step.unit,
      revision: step.revision,
      lanes: step.lanes,
      max: step.max,
      leaseMs: 30_000,
      nonces: Array.from({ length: step.max }, nonce),
      currentRevision: step.current,
      floor: step.floor,
      lingerMs: 8_000,
      desiredState: step.state,
    };
    let noted = false;
    return async (queue) => {
      const answer = await queue.lease(request, this.now);
      if (!noted) this.tokens.push(...answer.leases.map((one) => ({ id: one.id, token: one.token, unit: step.unit })));
      noted = true;
      return answer;
    };
  }

  #cancel(which: number): Call | undefined {
    const target = this.ids.at(-1 - (which % Math.max(1, this.ids.length)));
    return target === undefined ? undefined : (queue) => queue.cancel(this.app, target, this.now);
  }

  #held(
    step: Extract<Step, { pick: number; do: 'complete' | 'release' | 'extend' | 'note' | 'fail' }>,
  ): Call | undefined {
    const target = this.tokens.at(-1 - (step.pick % Math.max(1, this.tokens.length)));
    if (target === undefined) return undefined;
    const forge = step.do === 'fail' ? 'no' : step.forge;
    const unit = forge === 'unit' ? `${target.unit}x` : target.unit;
    const token = {
      epoch: target.token.epoch + (forge === 'epoch' ? 1 : 0),
      nonce: forge === 'nonce' ? nonce() : target.token.nonce,
    };
    const held = { id: target.id, token };
    const [app, at, key] = [this.app, this.now, `out-${nonce()}`];
    switch (step.do) {
      case 'complete': {
        const result = step.pick % 2 === 0 ? text('out') : { contentType: 'a/b', bytes: 20_000, key };
        return (queue) => queue.complete(app, unit, [{ ...held, result, serviceMicros: 7 }], at);
      }
      case 'release':
        return (queue) => queue.release(app, unit, [held], at);
      case 'extend':
        return (queue) => queue.extend(app, unit, [held], 30_000, at);
      case 'note':
        return (queue) => queue.noteObject(app, target.id, token, key, at);
      default:
        return (queue) => queue.fail(app, unit, [{ ...held, cause: { kind: step.kind, message: 'why' } }], at);
    }
  }
}

async function sweepAll(queue: LeaseQueue, now: number): Promise<string[]> {
  const keys: string[] = [];
  for (let more = true; more;) {
    const step = await queue.sweep(50, now);
    keys.push(...step.keys);
    await queue.forget(step.keys);
    more = step.more;
  }
  return keys.sort();
}

/** Everything that can be seen of an app: its records, and what is counted of it, units in the order of their names. */
export async function view(queue: LeaseQueue, player: Player): Promise<unknown> {
  const records = await Promise.all(player.ids.map((one) => queue.get(player.app, one)));
  const demand = await queue.demand(player.app);
  const byName = [...demand.units].sort((a, b) => (a.unit < b.unit ? -1 : 1));
  return plain({ records, demand: { ...demand, units: byName } });
}

/** Counts anew, record by record, what `demand` answers from its counters. */
export async function recount(
  queue: LeaseQueue,
  player: Player,
): Promise<{ readonly counted: unknown; readonly told: unknown }> {
  const records = (await Promise.all(player.ids.map((one) => queue.get(player.app, one)))).filter(
    (one) => one !== undefined,
  );
  const queued = records.filter((one) => one.state === 'queued');
  const leased = records.filter((one) => one.state === 'leased');
  const demand = await queue.demand(player.app);
  const oldest = queued.map((one) => one.createdAt).sort((a, b) => a - b)[0];
  const holders = leased.map((one) => one.attempts.at(-1)?.unit ?? '');
  const leasesOf = (unit: string): number => holders.filter((one) => one === unit).length;
  const revisions: Record<string, number> = {};
  for (const { revision } of queued) revisions[revision] = (revisions[revision] ?? 0) + 1;
  return {
    counted: [queued.length, revisions, leased.length, oldest, demand.units.map(({ unit }) => [unit, leasesOf(unit)])],
    told: [
      demand.queued,
      demand.queuedByRevision,
      demand.leased,
      demand.oldestQueuedAt,
      demand.units.map(({ unit, leases }) => [unit, leases]),
    ],
  };
}
