// SPDX-License-Identifier: Apache-2.0
// The lease loop over the broker's wire, with an executor that the test holds in its hand. No process, no thread.
import { onTestFinished } from 'vitest';
import { systemClock } from '#base/clock.ts';
import type { Clock } from '#base/clock.ts';
import { silentLogger } from '#base/logger.ts';
import { createRegistry } from '#base/metrics.ts';
import { systemRandom } from '#base/random.ts';
import { createBroker } from '../broker/broker-client.ts';
import { createPayloads } from '../broker/payloads.ts';
import { createSession } from '../broker/session.ts';
import { createTransport } from '../broker/transport.ts';
import { HostDied } from '../errors.ts';
import type { Executor, Outcome, Report, WorkItem } from '../executor.ts';
import { LeaseLoop } from '../loop/lease-loop.ts';
import type { LoopOptions } from '../loop/lease-loop.ts';
import { createUnitMetrics } from '../metrics.ts';
import { FakeBroker } from './fake-broker.ts';
import type { FakeOptions } from './fake-broker.ts';

interface Running {
  readonly items: readonly WorkItem[];
  /** Reports the same outcome for each, or what a function says, and ends the run. */
  finish(outcome?: Outcome | ((item: WorkItem) => Outcome)): void;
}

export function success(text = 'done', contentType = 'text/plain'): Outcome {
  return { kind: 'succeeded', body: Buffer.from(text), contentType, serviceMicros: 1000 };
}

class HandExecutor implements Executor {
  readonly running: Running[] = [];
  /** Every run that began, as the numbers of its items. */
  readonly begun: number[] = [];
  readonly slots: number;
  readonly batchSize: number;
  readonly #broken = Promise.withResolvers<HostDied>();
  closed = false;

  constructor(slots: number, batchSize: number) {
    this.slots = slots;
    this.batchSize = batchSize;
  }

  get broken(): Promise<HostDied> {
    return this.#broken.promise;
  }

  breakDown(): void {
    this.#broken.resolve(new HostDied('out of memory'));
  }

  async start(): Promise<void> {}

  run(_slot: number, items: readonly WorkItem[], report: Report): Promise<void> {
    this.begun.push(items.length);
    return new Promise((resolve) => {
      const running: Running = {
        items,
        finish: (outcome = success()) => {
          this.running.splice(this.running.indexOf(running), 1);
          for (const item of items) report(item, typeof outcome === 'function' ? outcome(item) : outcome);
          resolve();
        },
      };
      this.running.push(running);
    });
  }

  async close(): Promise<void> {
    this.closed = true;
  }
}

export interface Setup extends FakeOptions, Partial<LoopOptions> {
  readonly slots?: number;
  readonly batchSize?: number;
  readonly transferClock?: Clock;
}

export async function startLoop(setup: Setup = {}) {
  const broker = new FakeBroker(setup);
  await broker.start();
  const transport = createTransport(broker.origin);
  const session = createSession({ transport, readUnitToken: () => Promise.resolve('unit'), clock: systemClock });
  const deps = { clock: systemClock, random: systemRandom };
  const client = createBroker({ transport, session, ...deps });
  const executor = new HandExecutor(setup.slots ?? 1, setup.batchSize ?? 1);
  const options = {
    archetype: 'Handler',
    instances: 1,
    concurrency: 1,
    maxJobs: 0,
    leaseWaitSeconds: 1,
    graceMs: 5_000,
    brokerLostMs: 60_000,
    ...setup,
  } as const;
  const loop = new LeaseLoop({
    ...deps,
    options,
    broker: client,
    payloads: createPayloads({ broker: client, ...deps, clock: setup.transferClock ?? systemClock }),
    executor,
    logger: silentLogger,
    metrics: createUnitMetrics(createRegistry('unit', false)),
  });
  onTestFinished(async () => {
    loop.stop('the test is over');
    for (const run of executor.running.slice()) run.finish();
    await transport.close();
    await broker.stop();
  });
  return { broker, executor, loop };
}

export async function until(what: string, look: () => boolean): Promise<void> {
  const end = performance.now() + 20_000;
  while (!look()) {
    if (performance.now() > end) throw new Error(`timed out waiting for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

export const states = (broker: FakeBroker): string[] => [...broker.requests.values()].map(({ state }) => state);
