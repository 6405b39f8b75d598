// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '#base/clock.ts';
import type { Logger } from '#base/logger.ts';
import { HostDied, NotReady, clip, describe } from '../errors.ts';
import type { Executor, Outcome, Report, WorkItem } from '../executor.ts';
import type { GuardedChild } from '../guard.ts';
import { Company } from './company.ts';
import { ConnectionFailed } from './model-server.ts';
import type { ModelAnswer, ModelServer } from './model-server.ts';

export interface SidecarDeps {
  readonly server: ModelServer;
  /** Starts the model server where no kubelet does; undefined when it is started elsewhere. */
  readonly launch: (() => GuardedChild) | undefined;
  /** Requests side by side. */
  readonly slots: number;
  readonly readyTimeoutMs: number;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** How often the port is looked at while nothing else tells whether the server lives. */
const WATCH_EVERY_MS = 5_000;
/** Two looks in a row, a moment apart: a server may close its listening socket for an instant while it re-executes itself. */
const GONE_CONFIRM_MS = 250;
/** How long a server that broke a connection is watched for signs of death. */
const SETTLE_MS = 1_000;
/** A launched server's time to end by itself. */
const STOP_GRACE_MS = 3_000;
/**
 * A request that has been tried this often runs with no other beside it. When the server dies under several requests nobody knows
 * which one did it, so they all go back unharmed; from here on the guilty one is alone, and charged.
 */
const ALONE_FROM_ATTEMPT = 3;

/** Feeds requests to an unmodified HTTP model server. */
export class SidecarExecutor implements Executor {
  readonly #deps: SidecarDeps;
  readonly #company = new Company();
  readonly #broken = Promise.withResolvers<HostDied>();
  readonly #closing = new AbortController();
  readonly batchSize = 1;
  #child: GuardedChild | undefined;
  #dead: HostDied | undefined;

  constructor(deps: SidecarDeps) {
    this.#deps = deps;
  }

  get slots(): number {
    return this.#deps.slots;
  }

  get broken(): Promise<HostDied> {
    return this.#broken.promise;
  }

  async start(signal: AbortSignal): Promise<void> {
    const { server, launch, readyTimeoutMs, clock, logger } = this.#deps;
    const waiting = new AbortController();
    // Whoever listens already is not the server that is about to be started, and would be fed its requests.
    if (launch !== undefined && (await server.health()) !== 'gone')
      throw new NotReady("the model server's port is taken by another process");
    this.#child = launch?.();
    void this.#child?.ended.then((reason) => {
      waiting.abort(new NotReady(`the model server did not become ready: ${reason}`));
      this.#die(new HostDied(`the model server is gone: ${reason}`));
    });
    const well = await server.wellWithin(readyTimeoutMs, clock, AbortSignal.any([signal, waiting.signal]));
    if (!well) throw new NotReady(`the model server was not healthy within ${readyTimeoutMs / 1000} s`);
    logger.debug({}, 'model server is healthy');
    void this.#watch();
  }

  async run(_slot: number, items: readonly WorkItem[], report: Report): Promise<void> {
    for (const item of items) {
      await this.#company.enter(item.attempt >= ALONE_FROM_ATTEMPT);
      try {
        const outcome = await this.#infer(item);
        if (!this.#closing.signal.aborted) report(item, outcome);
        if (this.#dead !== undefined) this.#broken.resolve(this.#dead);
      } finally {
        this.#company.leave();
      }
    }
  }

  async close(): Promise<void> {
    this.#closing.abort(new Error('closing'));
    await this.#child?.stop(STOP_GRACE_MS);
    await this.#deps.server.close();
  }

  async #infer(item: WorkItem): Promise<Outcome> {
    if (this.#dead !== undefined) return { kind: 'returned', reason: this.#dead.message };
    const { clock, server } = this.#deps;
    const company = this.#company.size;
    const timer = new AbortController();
    const timeout = new Error('timeout');
    void clock.sleep(item.timeoutMs, timer.signal).then(
      () => timer.abort(timeout),
      () => undefined,
    );
    const signal = AbortSignal.any([timer.signal, item.signal, this.#closing.signal]);
    const begun = clock.monotonic();
    try {
      const answer = await server.infer(item, signal);
      return outcomeOf(answer, Math.max(1, Math.round((clock.monotonic() - begun) * 1000)));
    } catch (err) {
      if (err === timeout) return timedOut(item);
      if (err instanceof ConnectionFailed)
        return await this.#disconnected(item, err, Math.max(company, this.#company.size));
      return { kind: 'returned', reason: describe(err) };
    } finally {
      timer.abort(new Error('done'));
    }
  }

  /** The server broke the connection: it may have died of this request, or just have given up on it. */
  async #disconnected(item: WorkItem, err: ConnectionFailed, company: number): Promise<Outcome> {
    const gone = await this.#isGone();
    if (gone) this.#die(new HostDied('the model server is gone: nobody listens on its port'), true);
    const blameless = !err.reached || (gone && company > 1 && item.attempt < ALONE_FROM_ATTEMPT);
    if (blameless) return { kind: 'returned', reason: err.message };
    const message = clip(`the model server ${gone ? 'died' : 'broke the connection'}: ${err.message}`);
    return { kind: 'failed', failure: { kind: 'handler', message } };
  }

  /**
   * A dying process closes its connections one by one: the port may still take one for a moment after another broke. So only a 2xx, or
   * time, says that the server lives, and only being refused twice, a moment apart, that it does not.
   */
  async #isGone(): Promise<boolean> {
    const { clock, server } = this.#deps;
    const until = clock.monotonic() + SETTLE_MS;
    for (let refused = 0; ;) {
      if (this.#dead !== undefined) return true;
      const health = await server.health();
      if (health === 'well') return false;
      refused = health === 'gone' ? refused + 1 : 0;
      if (refused >= 2) return true;
      if (this.#closing.signal.aborted || (refused === 0 && clock.monotonic() >= until)) return false;
      await clock.sleep(GONE_CONFIRM_MS, this.#closing.signal).catch(() => undefined);
    }
  }

  /** While requests run, their own reports come first (`run` then resolves `broken`). */
  #die(err: HostDied, reporting = false): void {
    this.#dead ??= err;
    if (!reporting && this.#company.size === 0) this.#broken.resolve(this.#dead);
  }

  async #watch(): Promise<void> {
    const { clock } = this.#deps;
    const { signal } = this.#closing;
    while (!signal.aborted) {
      await clock.sleep(WATCH_EVERY_MS, signal).catch(() => undefined);
      if (!signal.aborted && (await this.#isGone()) && !signal.aborted)
        this.#die(new HostDied('the model server is gone: nobody listens on its port'));
    }
  }
}

function timedOut(item: WorkItem): Outcome {
  const message = `the model server took longer than timeoutSeconds (${item.timeoutMs / 1000} s)`;
  return { kind: 'failed', failure: { kind: 'timeout', message } };
}

/** 4xx says that the input is bad, except those that speak of the moment and not of the request. */
const MOMENTARY = new Set([401, 403, 408, 425, 429]);
const EXCERPT_BYTES = 1024;

function outcomeOf(answer: ModelAnswer, serviceMicros: number): Outcome {
  const { status, body, contentType, contentEncoding } = answer;
  const fail = (kind: 'handler' | 'input', message: string): Outcome => ({
    kind: 'failed',
    failure: { kind, message: clip(message) },
  });
  if (status < 200 || status > 299) {
    const excerpt = Buffer.from(body.subarray(0, EXCERPT_BYTES)).toString('utf8').trim();
    const kind = status >= 400 && status < 500 && !MOMENTARY.has(status) ? 'input' : 'handler';
    return fail(kind, `the model server answered ${status}${excerpt === '' ? '' : `: ${excerpt}`}`);
  }
  if (contentEncoding === '' || contentEncoding === 'identity')
    return { kind: 'succeeded', body, contentType, serviceMicros };
  if (contentEncoding === 'gzip') return { kind: 'succeeded', body, contentType, contentEncoding, serviceMicros };
  return fail('handler', `the model server answered in content encoding ${contentEncoding}, which was not asked for`);
}
