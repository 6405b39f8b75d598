// SPDX-License-Identifier: Apache-2.0
import type { Redis } from 'ioredis';
import type { Clock } from '#base/clock.ts';
import type { Logger } from '#base/logger.ts';
import type {
  AppDemand,
  AppRemains,
  CancelOutcome,
  CommitOutcome,
  Completion,
  DeadLetterFilter,
  DeadLetterPage,
  Durability,
  EnqueueOutcome,
  ExpireStep,
  ExtendOutcome,
  FailOutcome,
  Failure,
  Held,
  LeaseAnswer,
  LeaseQueue,
  LeaseRequest,
  LeaseToken,
  LivePage,
  NewRequest,
  Payload,
  PurgeStep,
  QueueEvent,
  Redrive,
  RedriveOutcome,
  Regression,
  RequestRecord,
  SweepStep,
  TenantShare,
} from '../lease-queue.ts';
import { commitOutcomes } from '../commits.ts';
import type { RequestOutcome } from '../request-outcome.ts';
import { ENQUEUE_CHUNK, MAX_MESSAGE_CHARS, OBJECT_GRACE_MS } from '../limits.ts';
import { serviceTime } from '../order.ts';
import {
  checkApp,
  checkBatch,
  checkEnqueue,
  checkLease,
  checkLeaseMs,
  checkPayload,
  checkRedrives,
  checkShares,
  checkUnit,
} from '../validate.ts';
import { demandOf, enqueueOutcome, leaseAnswer } from './answers.ts';
import { AppIndex } from './apps.ts';
import { batchesOf } from './batches.ts';
import type { Batches } from './batches.ts';
import {
  decodeOutcome,
  decodeRecord,
  enqueueArgs,
  heldArgs,
  leaseArgs,
  packId,
  resultValue,
  shareArgs,
} from './codec.ts';
import { connect, connectSound, readDurability, readRun } from './connection.ts';
import type { LayoutCheck } from './connection.ts';
import { Generations } from './generations.ts';
import { Housekeeper } from './housekeeper.ts';
import { Letters } from './letters.ts';
import { bufferOf, chunked, listOf, textOf } from './replies.ts';
import { revocations, revoke } from './revocations.ts';
import { runScript, unavailable } from './runner.ts';
import type { Argument } from './runner.ts';
import { scripts } from './scripts.ts';
import type { ScriptName } from './scripts.ts';
import { WakeUps } from './wake-ups.ts';

export interface RedisQueueOptions {
  /** redis:// or rediss://, with password and database where there are some. */
  readonly url: string;
  readonly clock: Clock;
  readonly logger: Logger;
  /** First part of every key; default 'penstock'. */
  readonly prefix?: string;
}

/** @throws QueueError `unavailable`, `layout` */
export async function openRedisQueue(options: RedisQueueOptions): Promise<LeaseQueue> {
  const prefix = options.prefix ?? 'penstock';
  const [redis, layout] = await connectSound(options.url, prefix, options.logger);
  const subscriber = connect(options.url, `${prefix}-wake-ups`, options.logger, null);
  return new RedisQueue(options, prefix, redis, subscriber, layout);
}

/** The queue of a deployment: the truth is in Redis, changed by one script for each call; this object holds connections only. */
class RedisQueue implements LeaseQueue {
  readonly #options: RedisQueueOptions;
  readonly #prefix: string;
  readonly #channel: string;
  readonly #redis: Redis;
  readonly #layout: LayoutCheck;
  readonly #apps: AppIndex;
  readonly #wakeUps: WakeUps;
  readonly #housekeeper: Housekeeper;
  readonly #letters: Letters;
  readonly #generations: Generations;
  readonly #batches: Batches;

  constructor(options: RedisQueueOptions, prefix: string, redis: Redis, subscriber: Redis, layout: LayoutCheck) {
    this.#layout = layout;
    this.#options = options;
    this.#prefix = prefix;
    this.#channel = `${prefix}:events`;
    this.#redis = redis;
    this.#apps = new AppIndex(redis, prefix, () => options.clock.monotonic(), layout);
    this.#wakeUps = new WakeUps(subscriber, this.#channel, options.logger);
    const run = this.#run.bind(this);
    this.#housekeeper = new Housekeeper({ ...options, redis, apps: this.#apps, prefix, run });
    this.#letters = new Letters(run);
    this.#batches = batchesOf(run);
    this.#generations = new Generations(options.logger, () => this.#apps.rediscover());
    redis.on('ready', () => this.#noteRun());
    this.#noteRun();
  }

  async enqueue(requests: readonly NewRequest[], now?: number): Promise<readonly EnqueueOutcome[]> {
    checkEnqueue(requests);
    const outcomes: EnqueueOutcome[] = [];
    const places = new Map<string, number[]>();
    for (const [place, { app }] of requests.entries()) {
      const its = places.get(app);
      if (its === undefined) places.set(app, [place]);
      else its.push(place);
    }
    const chunks = [...places].flatMap(([app, all]) => chunked(all, ENQUEUE_CHUNK).map((some) => ({ app, some })));
    await Promise.all(chunks.map(({ app, some }) => this.#enqueueSome(app, requests, some, outcomes, now)));
    return outcomes;
  }

  async #enqueueSome(
    app: string,
    requests: readonly NewRequest[],
    places: readonly number[],
    outcomes: EnqueueOutcome[],
    now?: number,
  ): Promise<void> {
    const some = places.flatMap((place) => requests[place] ?? []);
    await this.#apps.register(app);
    const arrivals = await this.#batches.arrivals.add(app, some.flatMap(enqueueArgs), now);
    for (const [i, request] of some.entries()) outcomes[places[i] ?? 0] = enqueueOutcome(request, arrivals[i]);
  }

  async lease(request: LeaseRequest, now?: number): Promise<LeaseAnswer> {
    checkLease(request);
    await this.#apps.register(request.app);
    const [answer] = await this.#batches.leases.add(request.app, leaseArgs(request), now, Math.max(1, request.max));
    return leaseAnswer(request, answer);
  }

  async extend(
    app: string,
    unit: string,
    held: readonly Held[],
    leaseMs: number,
    now?: number,
  ): Promise<readonly ExtendOutcome[]> {
    checkApp(app);
    checkBatch('held', held);
    checkLeaseMs(leaseMs);
    const [at, ...answers] = listOf(await this.#run('extend', app, now, [unit, leaseMs, ...held.flatMap(heldArgs)]));
    return held.map(({ id }, i) => {
      const answer = Number(answers[i]);
      return answer === 0
        ? { id, ok: false }
        : { id, ok: true, expiresAt: Number(at) + leaseMs, ...(answer === 2 ? { cancel: true } : {}) };
    });
  }

  async complete(
    app: string,
    unit: string,
    done: readonly Completion[],
    now?: number,
    onRepeat?: (place: number) => void,
  ): Promise<readonly CommitOutcome[]> {
    checkApp(app);
    checkBatch('done', done);
    for (const one of done) checkPayload('result', one.result);
    const args = done.flatMap((one) => [
      unit,
      ...heldArgs(one),
      serviceTime(one.serviceMicros),
      one.result.key ?? '',
      resultValue(one.result),
    ]);
    return commitOutcomes(await this.#batches.completions.add(app, args, now), onRepeat);
  }

  async fail(app: string, unit: string, failed: readonly Failure[], now?: number): Promise<readonly FailOutcome[]> {
    checkApp(app);
    checkBatch('failed', failed);
    const args = failed.flatMap((one) => [
      ...heldArgs(one),
      one.cause.kind,
      one.cause.message.slice(0, MAX_MESSAGE_CHARS),
    ]);
    const words = listOf(await this.#run('giveBack', app, now, [unit, ...args]));
    return words.map((word) => textOf(word) as FailOutcome);
  }

  async release(
    app: string,
    unit: string,
    held: readonly Held[],
    now?: number,
  ): Promise<readonly ('requeued' | 'lost' | 'cancelled')[]> {
    checkApp(app);
    checkBatch('held', held);
    const args = held.flatMap((one) => [...heldArgs(one), 'released', '']);
    const words = listOf(await this.#run('giveBack', app, now, [unit, ...args]));
    return words.map((word) => textOf(word) as 'requeued' | 'lost' | 'cancelled');
  }

  async get(app: string, id: string): Promise<RequestRecord | undefined> {
    const packed = packId(id);
    if (packed === undefined) return undefined;
    const reply = await this.#run('get', app, undefined, [packed]);
    return Array.isArray(reply) ? decodeRecord(app, reply.map(bufferOf)) : undefined;
  }

  async outcome(app: string, id: string): Promise<RequestOutcome | undefined> {
    const packed = packId(id);
    if (packed === undefined) return undefined;
    const [reply] = await this.#batches.outcomes.add(app, [packed], undefined);
    return decodeOutcome(app, id, reply);
  }

  async cancel(app: string, id: string, now?: number): Promise<CancelOutcome> {
    checkApp(app);
    const packed = packId(id);
    return packed === undefined ? 'unknown' : (textOf(await this.#run('cancel', app, now, [packed])) as CancelOutcome);
  }

  expire(current: ReadonlyMap<string, string>, now?: number): Promise<ExpireStep> {
    return this.#housekeeper.expire(current, now);
  }

  async retire(app: string, unit: string, now?: number): Promise<'retired' | 'busy'> {
    checkApp(app);
    checkUnit(unit);
    await this.#apps.register(app);
    return textOf(await this.#run('retire', app, now, [unit])) as 'retired' | 'busy';
  }

  async demand(app: string): Promise<AppDemand> {
    checkApp(app);
    return demandOf(await this.#run('demand', app, undefined, []));
  }

  async setShares(app: string, shares: ReadonlyMap<string, TenantShare>, now?: number): Promise<void> {
    checkApp(app);
    checkShares(shares);
    const told = [...shares].sort(([a], [b]) => (a < b ? -1 : 1));
    if (told.length > 0)
      await this.#run(
        'shares',
        app,
        now,
        told.flatMap(([name, share]) => [name, ...shareArgs(share)]),
      );
  }

  async deadLetters(app: string, filter: DeadLetterFilter, limit: number, cursor?: string): Promise<DeadLetterPage> {
    checkApp(app);
    return this.#letters.page(app, filter, limit, cursor);
  }

  async redrive(app: string, letters: readonly Redrive[], now?: number): Promise<readonly RedriveOutcome[]> {
    checkApp(app);
    checkRedrives(letters);
    return letters.length === 0 ? [] : this.#letters.redrive(app, letters, now);
  }

  async discard(app: string, ids: readonly string[], now?: number): Promise<number> {
    checkApp(app);
    checkBatch('ids', ids);
    const packed = ids.flatMap((id) => packId(id) ?? []);
    return Number(await this.#run('discard', app, now, packed));
  }

  async deadLetterCount(app: string): Promise<number> {
    checkApp(app);
    try {
      return await this.#redis.zcard(`${this.#prefix}:{${app}}:dead`);
    } catch (error) {
      throw unavailable(error);
    }
  }

  generations(): ReadonlyMap<string, number> {
    return this.#generations.highest();
  }

  run(): Promise<string> {
    return readRun(this.#redis);
  }

  onRegression(listener: (found: Regression) => void): () => void {
    return this.#generations.listen(listener);
  }

  async generation(app: string, atLeast?: number): Promise<number> {
    checkApp(app);
    return Number(await this.#run('generation', app, undefined, [atLeast ?? '']));
  }

  async live(app: string, limit: number, cursor?: string): Promise<LivePage> {
    checkApp(app);
    return this.#letters.live(app, limit, cursor);
  }

  async salvage(app: string, id: string, result: Payload, now?: number): Promise<'committed' | 'lost'> {
    checkApp(app);
    checkPayload('result', result);
    return this.#letters.salvage(app, id, result, now);
  }

  remains(app: string): Promise<AppRemains> {
    checkApp(app);
    return this.#housekeeper.remains(app);
  }

  sweep(limit: number, now?: number): Promise<SweepStep> {
    return this.#housekeeper.sweep(limit, now);
  }

  forget(keys: readonly string[]): Promise<void> {
    return this.#housekeeper.forget(keys);
  }

  async noteObject(app: string, id: string, token: LeaseToken, key: string, now?: number): Promise<boolean> {
    checkApp(app);
    const noted = await this.#run('note', app, now, [...heldArgs({ id, token }), key, OBJECT_GRACE_MS]);
    return Number(noted) === 1;
  }

  async purge(app: string, limit: number, now?: number): Promise<PurgeStep> {
    checkApp(app);
    const step = await this.#housekeeper.purge(app, limit, now);
    if (step.done) this.#generations.forget(app);
    return step;
  }

  subscribe(listener: (event: QueueEvent) => void): () => void {
    return this.#wakeUps.listen(listener);
  }

  revoke(entry: string, until: number, now = this.#options.clock.now()): Promise<boolean> {
    return revoke(this.#redis, this.#prefix, entry, until, now);
  }

  revocations(): Promise<ReadonlyMap<string, number>> {
    return revocations(this.#redis, this.#prefix);
  }

  durability(): Promise<Durability> {
    return readDurability(this.#redis, this.#options.logger);
  }

  async ping(): Promise<void> {
    try {
      await this.#redis.ping();
    } catch (error) {
      throw unavailable(error);
    }
  }

  async close(): Promise<void> {
    this.#wakeUps.close();
    this.#generations.close();
    await this.#redis.quit().catch(() => this.#redis.disconnect());
  }

  async #run(name: ScriptName, app: string, now: number | undefined, args: readonly Argument[]): Promise<unknown> {
    if (!this.#layout.isSound) await this.#layout.sound();
    const key = `${this.#prefix}:{${app}}:m`;
    const reply = await runScript(this.#redis, scripts[name], key, [this.#channel, app, now ?? '', ...args]);
    const [generation, answer] = listOf(reply);
    this.#generations.note(app, Number(generation));
    return answer;
  }

  /** Another process of the store than before may have lost what came last. */
  #noteRun(): void {
    readRun(this.#redis).then(
      (run) => this.#generations.noteRun(run),
      (error: unknown) => this.#options.logger.warn({ err: error }, 'Redis does not tell which process it is'),
    );
  }
}
