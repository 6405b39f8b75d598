// SPDX-License-Identifier: Apache-2.0
// Handler hosts, TypeScript and Python, held to one behaviour by one suite.
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import type { HandlerExecutor } from '#worker/hosts/handler-executor.ts';
import { HOST_KINDS, executorOf, itemOf, runBatch, shown } from '#worker/testing/host-suite.ts';
import type { HostOptions } from '#worker/testing/host-suite.ts';
import { scratchDir } from '#worker/testing/unit-process.ts';

const MIB = 1024 * 1024;

describe.each(HOST_KINDS)('a handler host: $name', (kind) => {
  let dir: string;
  beforeEach(() => {
    dir = scratchDir();
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  const started = async (options: HostOptions = {}): Promise<HandlerExecutor> => {
    const executor = executorOf(kind, dir, options);
    onTestFinished(() => executor.close());
    await executor.start(new AbortController().signal);
    return executor;
  };
  const withEnv = (name: string, value: string): void => {
    process.env[name] = value;
    onTestFinished(() => void delete process.env[name]);
  };
  const calls = (): string[] => readFileSync(join(dir, 'calls.log'), 'utf8').trim().split('\n');

  it('answers JSON, text, bytes and typed results, in order, with the declared batch size', async () => {
    const executor = await started();
    expect(executor.batchSize).toBe(8);
    const asks = [{ do: 'echo', value: [1, 'ü'] }, { do: 'text' }, { do: 'bytes', size: 3 }, { do: 'typed' }];
    const outcomes = await runBatch(
      executor,
      asks.map((ask) => itemOf(ask)),
    );
    expect(outcomes.map(shown)).toEqual([
      { echo: [1, 'ü'] },
      'text/plain; charset=utf-8 7',
      'application/octet-stream 3',
      'image/x-test 3',
    ]);
    expect(calls()).toContain('predict 4');
  });

  it('gives 7 results and 1 failure with its cause when predict throws for one of 8', async () => {
    const executor = await started();
    const asks = Array.from({ length: 8 }, (_, i) => (i === 5 ? { do: 'throw', value: i } : { do: 'echo', value: i }));
    const outcomes = await runBatch(
      executor,
      asks.map((ask) => itemOf(ask)),
    );
    expect(outcomes.map((outcome, i) => (i === 5 ? undefined : shown(outcome)))).toEqual(
      asks.map((_, i) => (i === 5 ? undefined : { echo: i })),
    );
    expect(shown(outcomes[5])).toMatch(/^handler: \w*Error: bad record 5$/);
    expect(await runBatch(executor, [itemOf({ do: 'echo', value: 'alive' })]).then(([one]) => shown(one))).toEqual({
      echo: 'alive',
    });
  });

  it('tells bad input from a handler error, also for a body that is no JSON', async () => {
    const executor = await started();
    const items = [itemOf({ do: 'input' }), itemOf(Buffer.from('{"broken')), itemOf({ do: 'echo', value: 1 })];
    const outcomes = (await runBatch(executor, items)).map(shown);
    expect(outcomes[0]).toBe('input: not a picture');
    expect(outcomes[1]).toMatch(/^input: the body is not JSON: /);
    expect(outcomes[2]).toEqual({ echo: 1 });
  });

  it('fails one request that runs into its timeout, finishes its neighbours, and goes on with a fresh host', async () => {
    const executor = await started();
    const asks = [
      { do: 'echo', value: 1 },
      { do: 'spin', ms: 3_600_000 },
      { do: 'echo', value: 3 },
    ];
    const outcomes = (
      await runBatch(
        executor,
        asks.map((ask) => itemOf(ask, { timeoutMs: 700 })),
      )
    ).map(shown);
    expect(outcomes).toEqual([{ echo: 1 }, 'timeout: predict took longer than timeoutSeconds (0.7 s)', { echo: 3 }]);
    expect((await runBatch(executor, [itemOf({ do: 'echo', value: 4 })])).map(shown)).toEqual([{ echo: 4 }]);
  });

  it('charges the request that kills its host when it ran alone, and reports the death', async () => {
    const executor = await started();
    const [outcome] = await runBatch(executor, [itemOf({ do: 'exit' })]);
    expect(shown(outcome)).toMatch(/^handler: the handler died: .*ended with code 3$/);
    expect((await executor.broken).message).toMatch(/ended with code 3$/);
  });

  it('gives every request of a batch back unharmed when one of them kills the host', async () => {
    const executor = await started();
    const outcomes = await runBatch(executor, [itemOf({ do: 'echo' }), itemOf({ do: 'exit' }), itemOf({ do: 'echo' })]);
    expect(outcomes.map(shown)).toEqual(['returned', 'returned', 'returned']);
    expect((await executor.broken).message).toMatch(/ended with code 3$/);
  });

  it('is not confused by what the handler prints', async () => {
    const executor = await started();
    const outcomes = await runBatch(executor, [itemOf({ do: 'print' }), itemOf({ do: 'echo', value: 1 })]);
    expect(outcomes.map(shown)).toEqual([{ printed: true }, { echo: 1 }]);
  });

  it('fails a request for which predict answers nothing, or the wrong number of results', async () => {
    const executor = await started();
    expect(shown((await runBatch(executor, [itemOf({ do: 'nothing' })]))[0])).toMatch(/^handler: TypeError: /);
    expect(shown((await runBatch(executor, [itemOf({ do: 'short' })]))[0])).toMatch(
      /^handler: TypeError: predict must return/,
    );
  });

  it('carries bodies and results of many MiB unchanged', async () => {
    const executor = await started();
    const body = Buffer.from(JSON.stringify({ do: 'size', pad: 'x'.repeat(5 * MIB) }));
    const outcomes = await runBatch(executor, [itemOf(body), itemOf({ do: 'bytes', size: 5 * MIB })]);
    expect(shown(outcomes[0])).toEqual({ size: body.length, type: 'application/json' });
    const [, bytes] = outcomes;
    expect(bytes?.kind === 'succeeded' && Buffer.from(bytes.body).equals(Buffer.alloc(5 * MIB, 7))).toBe(true);
  });

  it('tells a running request that the client has cancelled', async () => {
    const executor = await started();
    const item = itemOf({ do: 'wait' });
    const running = runBatch(executor, [item]);
    const pause = setInterval(item.cancel, 100);
    onTestFinished(() => clearInterval(pause));
    expect((await running).map(shown)).toEqual([{ aborted: true }]);
  });

  it('loads instances one after another', async () => {
    await started({ instances: 3 });
    const order = [0, 1, 2].flatMap((i) => [`load ${i} begins`, `load ${i} ends`]);
    expect(calls()).toEqual(order);
  });

  it('says why load failed', async () => {
    withEnv('LOAD', 'throw');
    await expect(started()).rejects.toThrow(/the handler did not load: .*no weights/);
  });

  it('is not ready when it is not healthy after its load', async () => {
    withEnv('UNWELL', '1');
    await expect(started()).rejects.toThrow(/^not healthy: .*lost the GPU$/);
  });

  it('goes down when an idle instance says that it must not go on', async () => {
    const executor = await started({ healthEveryMs: 50 });
    writeFileSync(join(dir, 'unwell'), '');
    expect((await executor.broken).message).toContain('lost the GPU');
  });

  it('gives up on a load that takes longer than readyTimeoutSeconds', async () => {
    withEnv('LOAD', 'spin');
    await expect(started({ readyTimeoutMs: 500 })).rejects.toThrow('the handler did not load within 0.5 s');
  });

  it('ends a host that spins when it is closed', async () => {
    const executor = await started();
    const running = runBatch(executor, [itemOf({ do: 'spin', ms: 3_600_000 })]);
    await executor.close();
    expect((await running).map(shown)).toEqual(['not reported']);
  });
});

const MISTAKEN = `
from penstock_worker import Result

class Model:
    batch_size = 8

    def predict(self, batch):
        with open("calls.log", "a") as file:
            file.write(f"predict {len(batch)}\\n")
        return [self.one(request.json()["do"]) for request in batch]

    def one(self, do):
        if do == "surrogate": return "\\ud800"
        if do == "surrogate in JSON": return {"text": "\\ud800"}
        if do == "surrogate in a result": return self.caught(lambda: Result("\\ud800", "text/plain"))
        if do == "no type": return self.caught(lambda: Result(b"x", None))
        if do == "no body": return self.caught(lambda: Result(5, "text/plain"))
        if do == "type taken away":
            result = Result(b"x", "text/plain")
            result.content_type = None
            return result
        if do == "deep":
            nested = []
            for _ in range(100000): nested = [nested]
            return nested
        return "fine"

    def caught(self, make):
        try:
            return make()
        except Exception as err:
            return err
`;

it('a Python result that cannot be one fails alone, with a sentence about it', async () => {
  const dir = scratchDir();
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  const python = HOST_KINDS.find(({ name }) => name.startsWith('Python'));
  if (python === undefined) throw new Error('no Python host');
  const install = (to: string): string => {
    writeFileSync(join(to, 'mistaken.py'), MISTAKEN);
    return 'mistaken:Model';
  };
  const executor = executorOf({ ...python, install }, dir);
  onTestFinished(() => executor.close());
  await executor.start(new AbortController().signal);
  const dos = ['fine', 'surrogate', 'surrogate in JSON', 'surrogate in a result'];
  dos.push('no type', 'no body', 'type taken away', 'deep');
  const outcomes = await runBatch(
    executor,
    dos.map((one) => itemOf({ do: one })),
  );
  expect(outcomes.map(shown)).toEqual([
    'text/plain; charset=utf-8 4',
    expect.stringMatching(/^handler: .*surrogates/),
    expect.stringMatching(/^handler: .*surrogates/),
    expect.stringMatching(/^handler: .*surrogates/),
    'handler: TypeError: the content_type of a Result must be str, not NoneType',
    'handler: TypeError: the body of a Result must be bytes or str, not int',
    'handler: TypeError: the content_type of a Result must be str, not NoneType',
    expect.stringMatching(/^handler: RecursionError/),
  ]);
  // Its neighbours did not have to run again for it.
  expect(readFileSync(join(dir, 'calls.log'), 'utf8')).toBe('predict 8\n');
});
