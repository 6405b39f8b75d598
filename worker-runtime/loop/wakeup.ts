// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '#base/clock.ts';

/** A condition to wait for: something changed, time is up, or the wait is over for good. Waiters check for themselves which it was. */
export class Wakeup {
  readonly #clock: Clock;
  #changed = Promise.withResolvers<void>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  notify(): void {
    const { resolve } = this.#changed;
    this.#changed = Promise.withResolvers<void>();
    resolve();
  }

  /** `ms` undefined = no limit of time. Never rejects. */
  async wait(ms: number | undefined): Promise<void> {
    const changed = this.#changed.promise;
    if (ms === undefined) return changed;
    const timer = new AbortController();
    const elapsed = this.#clock.sleep(Math.max(0, ms), timer.signal).catch(() => undefined);
    await Promise.race([changed, elapsed]);
    timer.abort();
  }
}
