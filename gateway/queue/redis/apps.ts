// SPDX-License-Identifier: Apache-2.0
import type { Redis } from 'ioredis';
import type { LayoutCheck } from './connection.ts';
import { patiently, unavailable } from './runner.ts';

/** A process says again that an app exists after this: heals a Redis that lost the set without restarting the connection. */
const REMEMBER_MS = 10 * 60_000;

/**
 * The deployment's apps, so that expiry and sweeps find all work. An app is written here before its first state is, and removed after its
 * last: in between a crash leaves a name too many, never work that nobody looks at. The set has no hash tag: no script touches it.
 */
export class AppIndex {
  readonly #redis: Redis;
  readonly #key: string;
  readonly #now: () => number;
  readonly #layout: Pick<LayoutCheck, 'isSound' | 'sound'>;
  readonly #known = new Map<string, number>();

  /** @param now monotonic ms */
  constructor(redis: Redis, prefix: string, now: () => number, layout: Pick<LayoutCheck, 'isSound' | 'sound'>) {
    this.#layout = layout;
    this.#redis = redis;
    this.#key = `${prefix}:apps`;
    this.#now = now;
    // A new connection may lead to a server that lost its newest writes.
    redis.on('ready', () => this.rediscover());
  }

  /** The server lost writes: every app is said again before its next call. */
  rediscover(): void {
    this.#known.clear();
  }

  /** Call before writing anything of the app. Synchronous in effect for an app that is known: the caller can skip the await. */
  register(app: string): Promise<void> | undefined {
    const until = this.#known.get(app);
    return until !== undefined && this.#now() < until ? undefined : this.#add(app);
  }

  async all(): Promise<string[]> {
    if (!this.#layout.isSound) await this.#layout.sound();
    try {
      return await this.#redis.smembers(this.#key);
    } catch (error) {
      throw unavailable(error);
    }
  }

  /** Everything of the app is gone. */
  async remove(app: string): Promise<void> {
    this.#known.delete(app);
    await patiently(() => this.#redis.srem(this.#key, app));
  }

  async #add(app: string): Promise<void> {
    if (!this.#layout.isSound) await this.#layout.sound();
    try {
      await patiently(() => this.#redis.sadd(this.#key, app));
    } catch (error) {
      throw unavailable(error);
    }
    this.#known.set(app, this.#now() + REMEMBER_MS);
  }
}
