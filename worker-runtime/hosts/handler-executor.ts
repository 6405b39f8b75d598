// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '#base/clock.ts';
import type { Logger } from '#base/logger.ts';
import { HostDied, NotReady, clip, describe } from '../errors.ts';
import type { Executor, Failure, Report, WorkItem } from '../executor.ts';
import { Instance } from './instance.ts';
import type { Predicted } from './instance.ts';
import type { Channel, ItemAnswer } from './protocol.ts';

export interface HandlerExecutorDeps {
  /** Starts a host; it has not loaded yet. */
  readonly openChannel: (instance: number) => Channel;
  readonly handler: string;
  readonly unit: string;
  readonly app: string;
  readonly instances: number;
  /** 0 = what the handler declares, else 1. */
  readonly batchSize: number;
  readonly readyTimeoutMs: number;
  /** How often an idle instance is asked whether it is well; default 30 s. */
  readonly healthEveryMs?: number;
  readonly clock: Clock;
  readonly logger: Logger;
}

const HEALTH_EVERY_MS = 30_000;
/** An idle handler has nothing else to do than to answer. */
const HEALTH_TIMEOUT_MS = 10_000;

type Attempt = { readonly took: number } & (
  | { readonly kind: 'answered'; readonly answers: Extract<Predicted, { ok: true }>['answers'] }
  | { readonly kind: 'threw'; readonly failure: Failure }
  /** `stuck`: and the host could not be ended. */
  | { readonly kind: 'timeout'; readonly stuck?: HostDied }
  | { readonly kind: 'died'; readonly err: HostDied }
);

/** `instances` copies of a handler, each with one predict at a time, in threads or child processes. */
export class HandlerExecutor implements Executor {
  readonly #deps: HandlerExecutorDeps;
  readonly #instances: Instance[] = [];
  readonly #busy = new Set<number>();
  readonly #broken = Promise.withResolvers<HostDied>();
  readonly #closing = new AbortController();
  #batchSize = 1;

  constructor(deps: HandlerExecutorDeps) {
    this.#deps = deps;
  }

  get slots(): number {
    return this.#deps.instances;
  }

  get batchSize(): number {
    return this.#batchSize;
  }

  get broken(): Promise<HostDied> {
    return this.#broken.promise;
  }

  /** One after another, so that only one copy at a time needs the memory that loading takes. */
  async start(signal: AbortSignal): Promise<void> {
    for (let slot = 0; slot < this.#deps.instances; slot++) {
      signal.throwIfAborted();
      await this.#startInstance(slot);
    }
    void this.#watchHealth();
  }

  async run(slot: number, items: readonly WorkItem[], report: Report): Promise<void> {
    this.#busy.add(slot);
    try {
      await this.#runIsolated(slot, items, report);
    } catch (err) {
      // A host that can't be ended or does not come up again.
      this.#broken.resolve(err instanceof HostDied ? err : new HostDied(describe(err), { cause: err }));
    } finally {
      this.#busy.delete(slot);
    }
  }

  async close(): Promise<void> {
    this.#closing.abort(new Error('closing'));
    await Promise.all(this.#instances.map((instance) => instance.kill()));
  }

  /** A batch that fails as a whole is taken apart: each request alone, so that only the guilty ones fail. */
  async #runIsolated(slot: number, items: readonly WorkItem[], report: Report): Promise<void> {
    const attempt = await this.#attempt(slot, items);
    if (this.#closing.signal.aborted) return;
    if (attempt.kind === 'answered') return this.#reportAnswers(items, attempt, report);
    if (attempt.kind === 'died') return this.#reportDeath(items, attempt.err, report);
    const [only, ...others] = items;
    const alone = others.length === 0 ? only : undefined;
    if (alone !== undefined) report(alone, { kind: 'failed', failure: failureOf(attempt, alone) });
    if (attempt.kind === 'timeout') {
      if (attempt.stuck !== undefined)
        return this.#reportDeath(others.length === 0 ? [] : items, attempt.stuck, report);
      await this.#startInstance(slot);
    }
    if (alone !== undefined) return;
    for (const item of items) {
      // Cancelled or lost while the batch ran: nobody waits for it, so the model does not see it again.
      if (item.signal.aborted) report(item, { kind: 'returned', reason: 'cancelled before it ran alone' });
      else await this.#runIsolated(slot, [item], report);
      if (this.#closing.signal.aborted || this.#instances[slot] === undefined) return;
    }
  }

  async #attempt(slot: number, items: readonly WorkItem[]): Promise<Attempt> {
    const { clock } = this.#deps;
    const instance = this.#instances[slot];
    const begun = clock.monotonic();
    const took = (): number => clock.monotonic() - begun;
    if (instance === undefined) return { kind: 'died', err: new HostDied('no such instance'), took: 0 };
    const limitMs = Math.min(...items.map(({ timeoutMs }) => timeoutMs));
    const predicting = instance.predict(items);
    const unlisten = forwardAborts(items, instance);
    try {
      const predicted = await this.#within(limitMs, predicting);
      if (predicted === undefined) {
        const stuck = await instance.kill().then(
          () => undefined,
          (err: unknown) => new HostDied(describe(err), { cause: err }),
        );
        return { kind: 'timeout', took: took(), ...(stuck === undefined ? {} : { stuck }) };
      }
      if (predicted.ok) return { kind: 'answered', answers: predicted.answers, took: took() };
      return { kind: 'threw', failure: { ...predicted.error, message: clip(predicted.error.message) }, took: took() };
    } catch (err) {
      if (err instanceof HostDied) return { kind: 'died', err, took: took() };
      throw err;
    } finally {
      unlisten();
    }
  }

  #reportAnswers(items: readonly WorkItem[], attempt: Extract<Attempt, { kind: 'answered' }>, report: Report): void {
    const serviceMicros = Math.max(1, Math.round((attempt.took * 1000) / items.length));
    for (const [index, item] of items.entries()) {
      const given = attempt.answers[index];
      if (given === undefined) continue;
      const { answer, body } = given;
      if (isError(answer)) {
        report(item, { kind: 'failed', failure: { ...answer.error, message: clip(answer.error.message) } });
      } else report(item, { kind: 'succeeded', body, contentType: answer.contentType, serviceMicros });
    }
  }

  /**
   * The host died under these requests. One alone is to blame and is charged. Of several nobody knows which it was: they go back
   * unharmed, and since each then counts as tried before, each runs alone the next time.
   */
  #reportDeath(items: readonly WorkItem[], err: HostDied, report: Report): void {
    for (const item of items) {
      if (items.length > 1) report(item, { kind: 'returned', reason: err.message });
      else report(item, { kind: 'failed', failure: { kind: 'handler', message: `the handler died: ${err.message}` } });
    }
    this.#broken.resolve(err);
  }

  async #startInstance(slot: number): Promise<void> {
    const { openChannel, handler, unit, app, readyTimeoutMs, logger } = this.#deps;
    if (this.#closing.signal.aborted) return;
    const instance = new Instance(openChannel(slot));
    this.#instances[slot] = instance;
    const loading = instance.load({ handler, instance: slot, unit, app }).then(async (batchSize) => {
      await instance.health();
      return { batchSize };
    });
    const loaded = await this.#within(readyTimeoutMs, loading);
    if (this.#closing.signal.aborted) return;
    if (loaded === undefined) {
      await instance.kill();
      throw new NotReady(`the handler did not load within ${readyTimeoutMs / 1000} s`);
    }
    this.#batchSize = this.#deps.batchSize || (loaded.batchSize ?? 1);
    // A death while predict runs is reported by `run` first, with what died in it; this one is for an idle instance.
    void instance.died.then((err) => {
      if (!this.#busy.has(slot)) this.#broken.resolve(err);
    });
    logger.debug({ instance: slot, batchSize: this.#batchSize }, 'handler loaded');
  }

  /** undefined when the time is up or the executor closes. */
  async #within<T>(ms: number, work: Promise<T>): Promise<T | undefined> {
    const timer = new AbortController();
    const signal = AbortSignal.any([timer.signal, this.#closing.signal]);
    work.catch(() => undefined);
    const elapsed = this.#deps.clock.sleep(ms, signal).then(
      () => undefined,
      () => undefined,
    );
    try {
      return await Promise.race([work, elapsed]);
    } finally {
      timer.abort();
    }
  }

  async #watchHealth(): Promise<void> {
    const { clock } = this.#deps;
    const { signal } = this.#closing;
    while (!signal.aborted) {
      await clock.sleep(this.#deps.healthEveryMs ?? HEALTH_EVERY_MS, signal).catch(() => undefined);
      for (const [slot, instance] of this.#instances.entries()) {
        if (signal.aborted || this.#busy.has(slot)) continue;
        const trouble = await this.#checkHealth(instance);
        if (trouble !== undefined && !signal.aborted && !instance.killed) this.#broken.resolve(trouble);
      }
    }
  }

  async #checkHealth(instance: Instance): Promise<HostDied | undefined> {
    try {
      const well = await this.#within(
        HEALTH_TIMEOUT_MS,
        instance.health().then(() => true),
      );
      // A predict that began meanwhile keeps the host from answering; that one has a time limit of its own.
      if (well === true || this.#busy.has(this.#instances.indexOf(instance))) return undefined;
      return new HostDied(`health did not answer within ${HEALTH_TIMEOUT_MS / 1000} s`);
    } catch (err) {
      return new HostDied(err instanceof Error ? err.message : describe(err), { cause: err });
    }
  }
}

function failureOf(attempt: Extract<Attempt, { kind: 'threw' | 'timeout' }>, item: WorkItem): Failure {
  if (attempt.kind === 'threw') return attempt.failure;
  return { kind: 'timeout', message: `predict took longer than timeoutSeconds (${item.timeoutMs / 1000} s)` };
}

function isError(answer: ItemAnswer): answer is Extract<ItemAnswer, { error: unknown }> {
  return 'error' in answer;
}

/** Called once the host knows the items: it ignores an abort of one that it has not heard of. */
function forwardAborts(items: readonly WorkItem[], instance: Instance): () => void {
  const listeners = items.map((item) => {
    const listener = (): void => instance.abort(item.id);
    // A signal that has aborted already never tells a new listener.
    if (item.signal.aborted) listener();
    else item.signal.addEventListener('abort', listener, { once: true });
    return () => item.signal.removeEventListener('abort', listener);
  });
  return () => {
    for (const remove of listeners) remove();
  };
}
