// SPDX-License-Identifier: Apache-2.0
import type { LeaseQueue } from '../queue/lease-queue.ts';
import type { Mirror } from './mirror.ts';

/** The process that holds the queue, as this gateway knows it and as the mirror does. */
export class Runs {
  readonly #queue: Pick<LeaseQueue, 'run'>;
  readonly #mirror: Pick<Mirror, 'run' | 'noteRun'>;
  #current: string | undefined;
  #mirrored: string | undefined;
  #reading: Promise<void> | undefined;

  constructor(queue: Pick<LeaseQueue, 'run'>, mirror: Pick<Mirror, 'run' | 'noteRun'>) {
    this.#queue = queue;
    this.#mirror = mirror;
  }

  /** Read once; a restart after that is told by the driver. @throws what queue or store threw; the next call reads again */
  async read(): Promise<{ readonly current: string; readonly mirrored: string | undefined }> {
    this.#reading ??= Promise.all([this.#queue.run(), this.#mirror.run()]).then(([current, mirrored]) => {
      this.#current ??= current;
      this.#mirrored = mirrored;
    });
    try {
      await this.#reading;
    } catch (err) {
      this.#reading = undefined;
      throw err;
    }
    return { current: this.#current ?? '', mirrored: this.#mirrored };
  }

  changed(run: string): void {
    this.#current = run;
  }

  /** The run that the mirror should name and does not. */
  unnoted(): string | undefined {
    return this.#current === this.#mirrored ? undefined : this.#current;
  }

  async note(run: string): Promise<void> {
    await this.#mirror.noteRun(run);
    this.#mirrored = run;
  }
}
