// SPDX-License-Identifier: Apache-2.0
import type { Redis } from 'ioredis';
import type { Clock } from '#base/clock.ts';
import type { Logger } from '#base/logger.ts';
import type { AppRemains, ExpireStep, PurgeStep, SweepStep } from '../lease-queue.ts';
import { EXPIRE_STEP, SWEEP_RECORDS } from '../limits.ts';
import type { AppIndex } from './apps.ts';
import { listOf, numberOf, textOf } from './replies.ts';
import { patiently, unavailable } from './runner.ts';
import type { Run } from './scripts.ts';

/** Records that one sweep script removes: Redis serves nobody else meanwhile. */
const SWEEP_STEP = 128;
/** Object keys that a process remembers the app of; the others are looked for in every app. */
const REMEMBERED_KEYS = 10_000;

/** When an app whose step failed is due again: soon, yet not at once. */
const FAILED_RETRY_MS = 1_000;

/** Phase of an app of which only the tombstone is left. */
const GONE = '2';

export interface HousekeeperDeps {
  readonly redis: Redis;
  readonly apps: AppIndex;
  readonly prefix: string;
  readonly run: Run;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** What runs over all apps: expiry, the retention sweep, the end of an app. */
export class Housekeeper {
  readonly #deps: HousekeeperDeps;
  /** App of each object key that was answered and not acknowledged yet. */
  readonly #offered = new Map<string, string>();
  #sweptLast = '';

  constructor(deps: HousekeeperDeps) {
    this.#deps = deps;
  }

  async expire(current: ReadonlyMap<string, string>, now?: number): Promise<ExpireStep> {
    const apps = await this.#deps.apps.all();
    const replies = await Promise.allSettled(
      apps.map((app) => this.#deps.run('expire', app, now, [EXPIRE_STEP, current.get(app) ?? ''])),
    );
    let expired = 0;
    let deadLetters = 0;
    let nextAt = this.#retryAt(apps, replies, now);
    for (const [i, reply] of replies.entries()) {
      if (reply.status === 'rejected') continue;
      const [ended, at, phase, dead] = listOf(reply.value);
      expired += Number(ended);
      deadLetters += Number(dead);
      nextAt = Math.min(nextAt, numberOf(at) ?? Infinity);
      // Purged, and named again since by a late call: its tombstone refuses all work, so the name may go.
      if (textOf(phase) === GONE) await this.#deps.apps.remove(apps[i] ?? '');
    }
    return { expired, deadLetters, ...(nextAt === Infinity ? {} : { nextAt }) };
  }

  /**
   * What became of the other apps is told although one has failed: its dead letters are told once, so nobody would hear of them again.
   * @returns when those that failed are due again; Infinity where none did
   * @throws QueueError when all have failed: then it is Redis
   */
  #retryAt(
    apps: readonly string[],
    replies: readonly PromiseSettledResult<unknown>[],
    now: number | undefined,
  ): number {
    const failed = replies.flatMap((one, i) => (one.status === 'rejected' ? [{ app: apps[i], err: one.reason }] : []));
    if (failed.length === 0) return Infinity;
    if (failed.length === apps.length) throw failed[0]?.err;
    for (const { app, err } of failed) this.#deps.logger.warn({ app, err }, 'the expiry step of an app failed');
    return (now ?? this.#deps.clock.now()) + FAILED_RETRY_MS;
  }

  /** Begins behind the app at which the last one ended: else an app that always fills a step would leave nothing to the others. */
  async sweep(limit: number, now?: number): Promise<SweepStep> {
    const keys: string[] = [];
    let records = SWEEP_RECORDS;
    const spent = (): boolean => keys.length >= limit || records <= 0;
    for (const app of rotated(await this.#deps.apps.all(), this.#sweptLast)) {
      if (spent()) return { keys, more: true };
      this.#sweptLast = app;
      for (let more = true; more && !spent();) {
        const step = Math.min(SWEEP_STEP, records);
        const [removed, ...found] = listOf(await this.#deps.run('sweep', app, now, [limit - keys.length, step]));
        keys.push(...this.#offer(app, found));
        records -= Number(removed);
        more = Number(removed) === step;
      }
    }
    return { keys, more: spent() };
  }

  async remains(app: string): Promise<AppRemains> {
    try {
      const [closed, swept] = await this.#deps.redis.hmget(`${this.#deps.prefix}:{${app}}:m`, 'closed', 'swept');
      return { closed: typeof closed === 'string', sweptUpTo: Number(swept ?? 0) };
    } catch (error) {
      throw unavailable(error);
    }
  }

  async purge(app: string, limit: number, now?: number): Promise<PurgeStep> {
    const [word, ...found] = listOf(await this.#deps.run('purge', app, now, [limit]));
    const phase = textOf(word);
    const done = phase === 'done';
    if (done) await this.#deps.apps.remove(app);
    return { done, orphans: this.#offer(app, found), ...(phase === 'waiting' ? { waiting: true } : {}) };
  }

  async forget(keys: readonly string[]): Promise<void> {
    const byApp = new Map<string, string[]>();
    const others: string[] = [];
    for (const key of keys) {
      const app = this.#offered.get(key);
      if (app === undefined) others.push(key);
      else byApp.set(app, [...(byApp.get(app) ?? []), key]);
    }
    // Offered by another process, or by this one long ago.
    if (others.length > 0)
      for (const app of await this.#deps.apps.all()) byApp.set(app, [...(byApp.get(app) ?? []), ...others]);
    await Promise.all(
      [...byApp].map(([app, its]) =>
        patiently(() => this.#deps.redis.zrem(`${this.#deps.prefix}:{${app}}:obj`, ...its.map((key) => `-${key}`))),
      ),
    );
    for (const key of keys) this.#offered.delete(key);
  }

  #offer(app: string, found: readonly unknown[]): string[] {
    const keys = found.map(textOf);
    for (const key of keys) if (this.#offered.size < REMEMBERED_KEYS) this.#offered.set(key, app);
    return keys;
  }
}

/** In the order of their names, those behind `last` first. */
function rotated(apps: readonly string[], last: string): string[] {
  const sorted = apps.toSorted();
  return [...sorted.filter((app) => app > last), ...sorted.filter((app) => app <= last)];
}
