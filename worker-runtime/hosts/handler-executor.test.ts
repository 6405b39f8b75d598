// SPDX-License-Identifier: Apache-2.0
import { afterEach, expect, it } from 'vitest';
import { systemClock } from '#base/clock.ts';
import { silentLogger } from '#base/logger.ts';
import type { Outcome, WorkItem } from '../executor.ts';
import { HandlerExecutor } from './handler-executor.ts';
import type { Ask, Channel, Message } from './protocol.ts';

type Predict = Extract<Ask, { op: 'predict' }>;

/** A host in this thread: `predict` says how a batch goes (`wait` = until an abort), the rest goes well. */
class FakeHost implements Channel {
  readonly asked: Ask[] = [];
  readonly #predict: (ask: Predict) => 'throw' | 'succeed' | 'wait';
  #listener: (message: Message) => void = () => undefined;
  #waiting: Predict | undefined;

  constructor(predict: (ask: Predict) => 'throw' | 'succeed' | 'wait') {
    this.#predict = predict;
  }

  send({ head }: Message): void {
    if (!('op' in head)) return;
    this.asked.push(head);
    if (head.op === 'abort') {
      if (this.#waiting !== undefined) this.#succeed(this.#waiting);
    } else if (head.op !== 'predict') this.#answer({ head: { re: head.id, ok: true }, parts: [] });
    else this.#run(head);
  }

  onMessage(listener: (message: Message) => void): void {
    this.#listener = listener;
  }

  onClose(): void {
    // This host never dies.
  }

  kill(): Promise<void> {
    return Promise.resolve();
  }

  #run(ask: Predict): void {
    const verdict = this.#predict(ask);
    if (verdict === 'wait') this.#waiting = ask;
    else if (verdict === 'succeed') this.#succeed(ask);
    else this.#answer({ head: { re: ask.id, ok: false, error: { kind: 'handler', message: 'bad batch' } }, parts: [] });
  }

  #succeed({ id, items }: Predict): void {
    const answers = items.map(() => ({ contentType: 'text/plain' }));
    this.#answer({ head: { re: id, ok: true, answers }, parts: items.map(() => new Uint8Array()) });
  }

  #answer(message: Message): void {
    queueMicrotask(() => this.#listener(message));
  }
}

const open: HandlerExecutor[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((executor) => executor.close()));
});

async function started(host: FakeHost): Promise<HandlerExecutor> {
  const executor = new HandlerExecutor({
    openChannel: () => host,
    handler: 'model:Model',
    unit: 'unit',
    app: 'team/app',
    instances: 1,
    batchSize: 8,
    readyTimeoutMs: 5_000,
    clock: systemClock,
    logger: silentLogger,
  });
  open.push(executor);
  await executor.start(new AbortController().signal);
  return executor;
}

function anItem(id: string, signal: AbortSignal): WorkItem {
  return { id, body: new Uint8Array(), contentType: 'text/plain', attempt: 1, timeoutMs: 5_000, signal };
}

async function runAll(
  executor: HandlerExecutor,
  items: readonly WorkItem[],
): Promise<Record<string, Outcome['kind'][]>> {
  const outcomes: Record<string, Outcome['kind'][]> = {};
  await executor.run(0, items, (item, { kind }) => void (outcomes[item.id] ??= []).push(kind));
  return outcomes;
}

it('does not run a request again that was cancelled while its batch failed', async () => {
  const cancel = new AbortController();
  const host = new FakeHost(({ items }) => {
    if (items.length === 1) return 'succeed';
    cancel.abort();
    return 'throw';
  });
  const executor = await started(host);
  const live = new AbortController().signal;
  const outcomes = await runAll(executor, [anItem('a', live), anItem('b', cancel.signal), anItem('c', live)]);
  expect(outcomes).toEqual({ a: ['succeeded'], b: ['returned'], c: ['succeeded'] });
  const batches = host.asked.filter((ask) => ask.op === 'predict').map(({ items }) => items.map(({ id }) => id));
  expect(batches).toEqual([['a', 'b', 'c'], ['a'], ['c']]);
});

it('tells the host of a request that was cancelled before predict began, once it knows the request', async () => {
  const host = new FakeHost(() => 'wait');
  const executor = await started(host);
  const outcomes = await runAll(executor, [anItem('a', AbortSignal.abort())]);
  expect(outcomes).toEqual({ a: ['succeeded'] });
  expect(host.asked.map(({ op }) => op)).toEqual(['load', 'health', 'predict', 'abort']);
});
