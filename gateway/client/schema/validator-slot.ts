// SPDX-License-Identifier: Apache-2.0
import type { SchemaRef } from './schema-ref.ts';
import { CHECK_BATCH, CHECK_BATCH_CHARS, LOADED_MAX, START_LIMIT_MS, THREAD_HEAP_MB } from './limits.ts';
import type { BodyVerdict, LoadVerdict, ThreadAnswer } from './verdict.ts';
import { openValidatorThread } from './validator-thread.ts';
import type { ValidatorThread } from './validator-thread.ts';

/** What became of one check: a verdict, or why there is none. */
export type CheckOutcome =
  | BodyVerdict
  | { readonly kind: 'unusable'; readonly reason: string }
  /** Its check took longer than allowed, or more memory. */
  | { readonly kind: 'overrun' }
  /** No thread could be started. */
  | { readonly kind: 'unavailable' };

export interface CheckJob {
  readonly ref: SchemaRef;
  /** JSON. */
  readonly body: string;
  readonly resolve: (outcome: CheckOutcome) => void;
}

export interface SlotLimits {
  readonly loadMs: number;
  readonly checkMs: number;
  /** Heap of the thread. */
  readonly heapMb?: number;
}

export interface SlotEvents {
  readonly loaded: (id: string, ms: number) => void;
  /** `late`: it took too long, which another time may not. */
  readonly unusable: (id: string, reason: string, late: boolean) => void;
  readonly overrun: (id: string) => void;
}

type Busy =
  | { readonly kind: 'start' }
  | { readonly kind: 'load'; readonly ref: SchemaRef }
  | { readonly kind: 'check'; readonly jobs: readonly CheckJob[]; seen: number };

/**
 * One validator thread and what waits for it. It is started when it is first needed. A thread that takes too long or dies is
 * replaced: what it was at is blamed, the rest of its batch is checked again.
 */
export class ValidatorSlot {
  readonly #limits: SlotLimits;
  readonly #events: SlotEvents;
  #waiting: CheckJob[] = [];
  readonly #perSchema = new Map<string, number>();
  /** By last use, the oldest first. */
  #loaded = new Set<string>();
  #thread: ValidatorThread | undefined;
  #busy: Busy | undefined;
  #timer: NodeJS.Timeout | undefined;
  #scheduled = false;

  constructor(limits: SlotLimits, events: SlotEvents) {
    this.#limits = limits;
    this.#events = events;
  }

  /** How many wait, in all and for one schema. */
  waiting(id: string): { readonly all: number; readonly ofSchema: number } {
    return { all: this.#waiting.length, ofSchema: this.#perSchema.get(id) ?? 0 };
  }

  add(job: CheckJob): void {
    this.#waiting.push(job);
    this.#count(job, 1);
    // What comes within one turn of the loop travels in one message.
    if (this.#scheduled || this.#busy !== undefined) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#next();
    });
  }

  /** Whatever waits is answered `unavailable`. */
  async stop(): Promise<void> {
    const thread = this.#thread;
    this.#forgetThread();
    const inBatch = this.#busy?.kind === 'check' ? this.#busy.jobs : [];
    this.#settle(undefined);
    for (const { resolve } of [...inBatch, ...this.#take(() => true)]) resolve({ kind: 'unavailable' });
    await thread?.end();
  }

  #next(): void {
    const [first] = this.#waiting;
    if (first === undefined || this.#busy !== undefined) return;
    if (this.#thread === undefined) return this.#start();
    if (!this.#loaded.has(first.ref.id)) return this.#load(this.#thread, first.ref);
    const jobs = this.#batch();
    for (const { ref } of jobs) this.#touch(ref.id);
    this.#settle({ kind: 'check', jobs, seen: 0 }, this.#limits.checkMs);
    this.#thread.check(jobs.map(({ ref, body }) => ({ id: ref.id, body })));
  }

  #start(): void {
    this.#settle({ kind: 'start' }, START_LIMIT_MS);
    const thread: ValidatorThread = openValidatorThread(this.#limits.heapMb ?? THREAD_HEAP_MB, {
      answered: (message) => {
        if (thread === this.#thread) this.#answered(message);
      },
      died: (reason) => {
        if (thread === this.#thread) this.#ended(reason);
      },
    });
    this.#thread = thread;
  }

  #load(thread: ValidatorThread, ref: SchemaRef): void {
    const [oldest] = this.#loaded;
    if (this.#loaded.size >= LOADED_MAX && oldest !== undefined) {
      this.#loaded.delete(oldest);
      thread.drop(oldest);
    }
    this.#settle({ kind: 'load', ref }, this.#limits.loadMs);
    thread.load(ref.id, ref.source);
  }

  /** The first jobs whose schema is loaded, in their order. */
  #batch(): CheckJob[] {
    let chars = 0;
    let count = 0;
    return this.#take(({ ref, body }) => {
      if (count === CHECK_BATCH || chars >= CHECK_BATCH_CHARS || !this.#loaded.has(ref.id)) return false;
      count += 1;
      chars += body.length;
      return true;
    });
  }

  #answered(message: ThreadAnswer): void {
    const busy = this.#busy;
    this.#settle(undefined);
    if (message.answer === 'load' && busy?.kind === 'load') this.#judge(busy.ref.id, message.verdict);
    if (message.answer === 'check' && busy?.kind === 'check') {
      busy.jobs.forEach(({ resolve }, i) => resolve(message.verdicts[i] ?? { kind: 'unavailable' }));
    }
    this.#next();
  }

  #judge(id: string, verdict: LoadVerdict): void {
    if (verdict.kind === 'loaded') {
      this.#loaded.add(id);
      this.#events.loaded(id, verdict.ms);
    } else this.#refuse(id, verdict.reason, false);
  }

  #refuse(id: string, reason: string, late: boolean): void {
    this.#events.unusable(id, reason, late);
    for (const { resolve } of this.#take(({ ref }) => ref.id === id)) resolve({ kind: 'unusable', reason });
  }

  #expired(): void {
    const busy = this.#busy;
    if (busy?.kind === 'check') {
      const done = this.#thread?.progress() ?? 0;
      // It is getting on, or it is through and its answer is on the way.
      if (done !== busy.seen) {
        busy.seen = done;
        this.#arm(this.#limits.checkMs);
        return;
      }
    }
    this.#ended('it took too long');
  }

  /** The thread took too long and is given up, or died by itself. */
  #ended(reason: string): void {
    const thread = this.#thread;
    const busy = this.#busy;
    const at = thread?.progress() ?? 0;
    this.#forgetThread();
    this.#settle(undefined);
    void thread?.end();
    if (busy?.kind === 'load') this.#refuse(busy.ref.id, `compiling it: ${reason}`, true);
    else if (busy?.kind === 'check') this.#blame(busy.jobs, at);
    else if (busy?.kind === 'start') {
      // Not tried again for those who wait now: the next body finds out whether it can be started.
      for (const { resolve } of this.#take(() => true)) resolve({ kind: 'unavailable' });
    }
    this.#next();
  }

  #blame(jobs: readonly CheckJob[], at: number): void {
    const again = jobs.filter((_job, i) => i !== at);
    this.#waiting.unshift(...again);
    for (const job of again) this.#count(job, 1);
    const guilty = jobs[at];
    if (guilty === undefined) return;
    this.#events.overrun(guilty.ref.id);
    guilty.resolve({ kind: 'overrun' });
  }

  #forgetThread(): void {
    this.#thread = undefined;
    this.#loaded = new Set();
  }

  #settle(busy: Busy | undefined, limitMs?: number): void {
    this.#busy = busy;
    this.#arm(limitMs);
  }

  #arm(ms: number | undefined): void {
    clearTimeout(this.#timer);
    if (ms !== undefined) this.#timer = setTimeout(() => this.#expired(), ms).unref();
  }

  #touch(id: string): void {
    if (this.#loaded.delete(id)) this.#loaded.add(id);
  }

  #take(wanted: (job: CheckJob) => boolean): CheckJob[] {
    const taken: CheckJob[] = [];
    this.#waiting = this.#waiting.filter((job) => {
      if (!wanted(job)) return true;
      taken.push(job);
      this.#count(job, -1);
      return false;
    });
    return taken;
  }

  #count({ ref }: CheckJob, by: number): void {
    const count = (this.#perSchema.get(ref.id) ?? 0) + by;
    if (count > 0) this.#perSchema.set(ref.id, count);
    else this.#perSchema.delete(ref.id);
  }
}
