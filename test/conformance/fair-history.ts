// SPDX-License-Identifier: Apache-2.0
import { systemClock } from '#base/clock.ts';
import type { Random } from '#base/random.ts';
import { uuid7 } from '#base/uuid7.ts';
import type { Cause, Lane, LeaseQueue, NewRequest, TenantShare } from '#gateway/queue/lease-queue.ts';
import { COST_LIMIT_MICROS } from '#gateway/queue/limits.ts';
import type { RefAsk, RefNew, RefToken } from './fair-reference.parts.ts';
import { Reference } from './fair-reference.ts';
import { T0, text } from './lease-queue.harness.ts';

/** Calls with everything random in them decided, so that all subjects are asked the very same. */
export type Action = Single | Together;

/** Made in one turn, none waiting for another: a driver may take them in one step, and must answer as if it had not. */
interface Together {
  readonly do: 'together';
  readonly actions: readonly Single[];
}

type Single =
  | { readonly do: 'enqueue'; readonly requests: readonly RefNew[] }
  | { readonly do: 'lease'; readonly ask: RefAsk }
  | { readonly do: 'complete'; readonly token: RefToken; readonly serviceMicros: number }
  | { readonly do: 'fail'; readonly token: RefToken; readonly kind: Cause['kind'] }
  | { readonly do: 'release'; readonly token: RefToken }
  | { readonly do: 'extend'; readonly token: RefToken }
  | { readonly do: 'cancel'; readonly id: string }
  | { readonly do: 'retire'; readonly unit: string }
  | { readonly do: 'expire'; readonly current: string }
  | { readonly do: 'setShares'; readonly shares: ReadonlyMap<string, TenantShare> }
  | {
      readonly do: 'redrive';
      readonly id: string;
      readonly newId: string;
      readonly revision: string;
      readonly share: TenantShare;
    }
  | { readonly do: 'counts' }
  | { readonly do: 'view'; readonly ids: readonly string[] };

/** Something that plays histories: a driver or the reference. Outcomes of equal actions must be equal. */
export interface Subject {
  readonly name: string;
  play(action: Action, now: number): Promise<unknown>;
}

const LEASE_MS = 30_000;

/** The calls of an action, each with its own outcome. */
export function callsOf(action: Action, outcome: unknown): (readonly [Single, unknown])[] {
  if (action.do !== 'together') return [[action, outcome]];
  return action.actions.map((one, i) => [one, (outcome as readonly unknown[])[i]]);
}

type Plays = { readonly [K in Single['do']]: (action: Extract<Single, { do: K }>, now: number) => unknown };

function subject(name: string, plays: Plays): Subject {
  // The compiler cannot see that the key picks the function of the action's own kind.
  const playOne = async (action: Single, now: number): Promise<unknown> =>
    (plays[action.do] as (action: Single, now: number) => unknown)(action, now);
  return {
    name,
    play: (action, now) =>
      action.do === 'together' ? Promise.all(action.actions.map((one) => playOne(one, now))) : playOne(action, now),
  };
}

export function queueSubject(name: string, queue: LeaseQueue, app: string): Subject {
  const held = ({ id, epoch, nonce }: RefToken) => ({ id, token: { epoch, nonce } });
  return subject(name, {
    enqueue: async ({ requests }, now) => {
      const outcomes = await queue.enqueue(
        requests.map((one) => newRequest(app, one)),
        now,
      );
      return outcomes.map((one) => (one.kind === 'full' ? `full ${one.queued}` : one.kind));
    },
    lease: async ({ ask: { current, fraction, grace, ...ask } }, now) => {
      const shape = { floor: 99, lingerMs: 0, desiredState: 'Ready' } as const;
      const learned = { fractionMicros: fraction, starvationGraceMs: grace };
      const answer = await queue.lease({ ...ask, app, currentRevision: current, ...shape, ...learned }, now);
      return { ids: answer.leases.map((one) => one.id), verdict: answer.verdict };
    },
    complete: async ({ token, serviceMicros }, now) =>
      (await queue.complete(app, token.unit, [{ ...held(token), result: text('out'), serviceMicros }], now))[0],
    fail: async ({ token, kind }, now) =>
      (await queue.fail(app, token.unit, [{ ...held(token), cause: { kind, message: 'why' } }], now))[0],
    release: async ({ token }, now) => (await queue.release(app, token.unit, [held(token)], now))[0],
    extend: async ({ token }, now) => (await queue.extend(app, token.unit, [held(token)], LEASE_MS, now))[0]!.ok,
    cancel: ({ id }, now) => queue.cancel(app, id, now),
    retire: ({ unit }, now) => queue.retire(app, unit, now),
    expire: async ({ current }, now) => void (await queue.expire(new Map([[app, current]]), now)),
    setShares: ({ shares }, now) => queue.setShares(app, shares, now),
    redrive: async (action, now) => {
      const [outcome] = await queue.redrive(app, [action], now);
      return outcome!.kind;
    },
    counts: async () => {
      const { queued, leased } = await queue.demand(app);
      return { queued, leased };
    },
    view: ({ ids }) => Promise.all(ids.map((id) => viewOf(queue, app, id))),
  });
}

function newRequest(app: string, request: RefNew): NewRequest {
  const { bytes, maxAttempts, maxLosses, deadline, share, ...rest } = request;
  return {
    ...rest,
    app,
    ...(deadline === undefined ? {} : { deadline }),
    ...(share === undefined ? {} : { share }),
    body: bytes === 0 ? text('') : { contentType: 'a/b', bytes, key: `body-${request.id}` },
    dedupeKey: request.id,
    retry: { maxAttempts, maxLosses },
    retentionMs: 1e9,
  };
}

async function viewOf(queue: LeaseQueue, app: string, id: string): Promise<unknown> {
  const record = await queue.get(app, id);
  if (record === undefined) return undefined;
  const { state, revision, epoch, failures, losses, deadLetter } = record;
  return { state, revision, epoch, failures, losses, deadLetter };
}

export function referenceSubject(): Subject {
  const reference = new Reference();
  const untimed = subject('reference', {
    enqueue: ({ requests }) => requests.map((one) => reference.enqueue(one)),
    lease: ({ ask }) => reference.lease(ask),
    complete: ({ token, serviceMicros }) => reference.complete(token, serviceMicros),
    fail: ({ token, kind }) => reference.fail(token, kind),
    release: ({ token }) => reference.fail(token, 'released'),
    extend: ({ token }) => reference.extend(token, LEASE_MS),
    cancel: ({ id }) => reference.cancel(id),
    retire: ({ unit }) => reference.retire(unit),
    expire: ({ current }) => reference.expire(current),
    setShares: ({ shares }) => reference.setShares(shares),
    redrive: ({ id, newId, revision, share }) => reference.redrive(id, newId, revision, share),
    counts: () => reference.counts(),
    view: ({ ids }) => ids.map((id) => reference.view(id)),
  });
  const play = (action: Action, now: number): Promise<unknown> => {
    reference.now = now;
    return untimed.play(action, now);
  };
  return { name: untimed.name, play };
}

/** Choices by one seed. */
class Dice {
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
  }

  below(n: number): number {
    return Math.floor(this.#random.fraction() * n);
  }

  of<T>(...choices: readonly T[]): T {
    return choices[this.below(choices.length)]!;
  }

  chance(part: number): boolean {
    return this.#random.fraction() < part;
  }

  /** As many of each order of magnitude. */
  magnitude(most: number): number {
    return Math.floor(most ** this.#random.fraction());
  }

  nonce(): string {
    return Buffer.from(this.#random.bytes(8)).toString('hex');
  }

  id(now: number): string {
    return uuid7({ ...systemClock, now: () => now }, this.#random);
  }
}

/** What a seed's history is about: each is rich in some of the phenomena, few are in all. */
interface Profile {
  readonly tenants: readonly string[];
  readonly steps: number;
  readonly caps: boolean;
  readonly batch: boolean;
  readonly revisions: boolean;
  readonly losses: boolean;
  readonly deadlines: boolean;
  readonly cost: 'given' | 'learned' | 'mixed' | 'huge';
  readonly grace: number;
  readonly fraction: number;
}

/** One seeded history, step by step. */
export class FairHistory {
  now = T0;
  readonly ids: string[] = [];
  readonly #dice: Dice;
  readonly #profile: Profile;
  readonly #shares = new Map<string, TenantShare>();
  readonly #tokens: RefToken[] = [];
  readonly #tenantOf = new Map<string, string>();
  readonly #epochs = new Map<string, number>();
  readonly #failed: string[] = [];
  #current = 'r1';
  #left: number;

  constructor(random: Random) {
    const dice = new Dice(random);
    this.#dice = dice;
    this.#profile = {
      tenants: ['a', 'b', 'c', 'd', 'e', 'f'].slice(0, 1 + dice.below(6)),
      steps: 15 + dice.below(45),
      caps: dice.chance(0.5),
      batch: dice.chance(0.5),
      revisions: dice.chance(0.3),
      losses: dice.chance(0.5),
      deadlines: dice.chance(0.3),
      cost: dice.of('given', 'given', 'learned', 'learned', 'mixed', 'mixed', 'huge'),
      grace: dice.of(0, 50, 5_000, 300_000),
      fraction: dice.of(1_000_000, 1_000_000, 500_000, 142_857, 8_000_000),
    };
    // It takes a while until times are so large that they are brought down again.
    this.#left = this.#profile.steps * (this.#profile.cost === 'huge' ? 2 : 1);
  }

  /** The next action, or undefined at the end. */
  next(): Action | undefined {
    if (this.#left-- <= 0) return undefined;
    const dice = this.#dice;
    if (dice.chance(0.3)) this.now += dice.of(1, 7, 400, 2_000, 9_000, dice.chance(0.3) ? 31_000 : 90);
    if (dice.chance(0.01)) this.now += 1_000_000;
    const roll = dice.below(100);
    if (roll < 30) return this.#some(() => this.#enqueue());
    // With other revisions the second call of a run may find what only the first one's own search could have moved.
    if (roll < 58) return this.#profile.revisions ? this.#lease() : this.#some(() => this.#lease());
    if (roll < 94) return roll < 76 ? this.#some(() => this.#onHeld(roll)) : this.#onHeld(roll);
    return this.#housekeeping(roll);
  }

  #some(next: () => Single): Action {
    const count = this.#dice.of(1, 1, 1, 2, 4);
    return count === 1 ? next() : { do: 'together', actions: Array.from({ length: count }, next) };
  }

  /** Every lease that the first subject gave can be acted on from now on. */
  note(action: Action, outcome: unknown): void {
    for (const [one, its] of callsOf(action, outcome)) this.#noteOne(one, its);
  }

  #noteOne(action: Single, outcome: unknown): void {
    if (action.do === 'redrive' && outcome === 'redriven') this.ids.push(action.newId);
    if (action.do === 'fail' && outcome === 'failed') this.#failed.push(action.token.id);
    if (action.do !== 'lease') return;
    for (const [i, id] of (outcome as { ids: string[] }).ids.entries()) {
      const epoch = (this.#epochs.get(id) ?? 0) + 1;
      this.#epochs.set(id, epoch);
      this.#tokens.push({ id, unit: action.ask.unit, epoch, nonce: action.ask.nonces[i]! });
    }
  }

  #enqueue(): Single {
    const count = this.#dice.of(1, 1, 1, 1, 3);
    return { do: 'enqueue', requests: Array.from({ length: count }, () => this.#request()) };
  }

  #request(): RefNew {
    const [dice, profile] = [this.#dice, this.#profile];
    const tenant = dice.of(...profile.tenants);
    if (!this.#shares.has(tenant) || dice.chance(0.05)) this.#shares.set(tenant, this.#share());
    const id = dice.id(this.now);
    this.ids.push(id);
    this.#tenantOf.set(id, tenant);
    const given = profile.cost === 'given' || (profile.cost === 'mixed' && dice.chance(0.5));
    const cost = profile.cost === 'huge' ? COST_LIMIT_MICROS - dice.below(9) : given ? dice.magnitude(1e8) : 0;
    return {
      id,
      tenant,
      lane: profile.batch && dice.chance(0.4) ? 'batch' : 'online',
      revision: profile.revisions ? dice.of('r1', 'r2', 'r3') : 'r1',
      priority: dice.of(0, 0, 0, 5, -5),
      deadline: profile.deadlines && dice.chance(0.4) ? this.now + dice.of(5, 500, 20_000) : undefined,
      cost,
      bytes: dice.of(0, 10, 900, 70_000),
      maxAttempts: dice.of(1, 3),
      maxLosses: dice.of(0, 1, 3),
      share: this.#shares.get(tenant),
    };
  }

  #share(): TenantShare {
    const [dice, { caps }] = [this.#dice, this.#profile];
    return {
      weight: dice.of(1, 1, 2, 7, 1_000),
      ...(caps && dice.chance(0.7) ? { maxInFlight: dice.of(0, 1, 1, 2, 3) } : {}),
      ...(caps && dice.chance(0.3) ? { maxQueued: dice.below(6) } : {}),
    };
  }

  #lease(): Single {
    const [dice, profile] = [this.#dice, this.#profile];
    const max = dice.of(0, 1, 1, 1, 2, 3, 6);
    const revision = profile.revisions ? dice.of(this.#current, 'r1', 'r2', 'r3') : 'r1';
    const lanes: readonly Lane[] = dice.of(
      ['online', 'batch'],
      ['online', 'batch'],
      ['online', 'batch'],
      ['online'],
      ['batch'],
    );
    const ask: RefAsk = {
      unit: `u${dice.below(profile.losses ? 3 : 5)}`,
      revision,
      current: this.#current,
      lanes,
      max,
      leaseMs: LEASE_MS,
      nonces: Array.from({ length: max }, () => dice.nonce()),
      fraction: profile.fraction,
      grace: profile.grace,
    };
    return { do: 'lease', ask };
  }

  #onHeld(roll: number): Single {
    const [dice, { losses, cost }] = [this.#dice, this.#profile];
    // Mostly one of the last, which may still be held.
    const token = this.#tokens.at(-1 - dice.below(Math.min(this.#tokens.length, dice.of(4, 12, 60))));
    if (token === undefined) return this.#enqueue();
    if (roll < 76) {
      const isHuge = cost === 'huge' && dice.chance(0.9);
      return { do: 'complete', token, serviceMicros: isHuge ? COST_LIMIT_MICROS : dice.magnitude(1e8) };
    }
    if (roll < 83) {
      const kind = losses
        ? dice.of<Cause['kind']>('lost', 'lost', 'handler')
        : dice.of<Cause['kind']>('handler', 'input', 'timeout', 'released');
      return { do: 'fail', token, kind };
    }
    if (roll < 87) return { do: 'release', token };
    if (roll < 90) return { do: 'extend', token };
    return { do: 'cancel', id: dice.chance(0.5) ? token.id : dice.of(...this.ids) };
  }

  #housekeeping(roll: number): Single {
    const [dice, { tenants, revisions }] = [this.#dice, this.#profile];
    if (roll < 96) {
      if (revisions && dice.chance(0.3)) this.#current = dice.of('r1', 'r2', 'r3');
      return { do: 'expire', current: this.#current };
    }
    if (roll < 97) return dice.chance(0.5) ? this.#lease() : { do: 'retire', unit: `u${dice.below(5)}` };
    if (roll < 99 && this.ids.length > 0) {
      const id = dice.of(dice.of(...this.ids), ...this.#failed.slice(-3));
      const tenant = this.#tenantOf.get(id);
      if (tenant !== undefined) {
        const newId = dice.id(this.now);
        this.#tenantOf.set(newId, tenant);
        return { do: 'redrive', id, newId, revision: this.#current, share: this.#shares.get(tenant)! };
      }
    }
    const told = tenants.filter(() => dice.chance(0.5));
    for (const tenant of told) this.#shares.set(tenant, this.#share());
    return { do: 'setShares', shares: new Map(told.map((tenant) => [tenant, this.#shares.get(tenant)!])) };
  }
}
