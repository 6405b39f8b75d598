// SPDX-License-Identifier: Apache-2.0
// Units as real processes against a real gateway over the embedded queue.
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, it, onTestFinished } from 'vitest';
import { systemClock } from '#base/clock.ts';
import { silentLogger } from '#base/logger.ts';
import { openEmbeddedQueue } from '#gateway/queue/open.ts';
import { freePort } from '#test/servers/free-port.ts';
import { until } from '#test/until.ts';
import { HOST_KINDS } from '#worker/testing/host-suite.ts';
import { scratchDir } from '#worker/testing/unit-process.ts';
import { makeFleet, startStack, testApp } from './gateway.harness.ts';
import { callsIn, startWorkerStack } from './worker.harness.ts';

const json = (bytes: Buffer): unknown => JSON.parse(bytes.toString('utf8'));
const [TYPESCRIPT] = HOST_KINDS as [(typeof HOST_KINDS)[0]];

describe.each(HOST_KINDS)('a unit with a handler: $name', (kind) => {
  it('answers 7 of a batch of 8 and fails the one that throws, with its cause, and lives', async () => {
    const stack = await startWorkerStack();
    const tickets = await Promise.all(
      Array.from({ length: 8 }, (_, i) => stack.post(i === 2 ? { do: 'throw', value: i } : { do: 'echo', value: i })),
    );
    const unit = await stack.worker({ handler: kind.install(stack.handlers), concurrency: 8 });
    const ended = await Promise.all(tickets.map((ticket) => stack.ended(ticket)));
    expect(ended.map(({ status }) => status)).toEqual([200, 200, 500, 200, 200, 200, 200, 200]);
    expect(ended.map(({ bytes }, i) => (i === 2 ? 2 : json(bytes)))).toEqual(
      tickets.map((_, i) => (i === 2 ? 2 : { echo: i })),
    );
    expect(ended[2]?.bytes.toString()).toMatch(/Error: bad record 2/);
    expect(callsIn(stack.handlers)).toContain('predict 8');
    expect(await stack.attempts(tickets[2] ?? '')).toEqual(['handler', 'handler', 'handler']);
    expect(unit.child.exitCode).toBeNull();
    const again = await stack.post({ do: 'echo', value: 'still here' });
    expect(json((await stack.ended(again)).bytes)).toEqual({ echo: 'still here' });
  });

  it('executes a predict that spins for three lease times exactly once', async () => {
    const stack = await startWorkerStack({}, { gateway: { leaseSeconds: 3 } });
    const handler = kind.install(stack.handlers);
    await stack.worker({ handler, concurrency: 1 }, 'echo-1');
    // A second unit would take the request as soon as its lease ran out.
    await stack.worker({ handler, concurrency: 1 }, 'echo-2');
    const ticket = await stack.post({ do: 'spin', ms: 9500 });
    expect(json((await stack.ended(ticket)).bytes)).toEqual({ spun: 9500 });
    expect(await stack.attempts(ticket)).toEqual(['succeeded']);
    expect(callsIn(stack.handlers).filter((line) => line.startsWith('predict'))).toEqual(['predict 1']);
  });

  it('fails a request that is past its timeout and answers the next one', async () => {
    const stack = await startWorkerStack({ timeoutSeconds: 1, maxAttempts: 1 });
    await stack.worker({ handler: kind.install(stack.handlers) });
    const stuck = await stack.post({ do: 'spin', ms: 3_600_000 });
    const next = await stack.post({ do: 'echo', value: 1 });
    const failed = await stack.ended(stuck);
    expect([failed.status, failed.state]).toEqual([500, 'failed']);
    expect(failed.bytes.toString()).toContain('timeoutSeconds');
    expect(json((await stack.ended(next)).bytes)).toEqual({ echo: 1 });
  });

  it('carries 1 MiB in and 1 MiB out unchanged, gzip inflated', async () => {
    const stack = await startWorkerStack();
    await stack.worker({ handler: kind.install(stack.handlers), concurrency: 4 });
    const MIB = 1024 * 1024;
    const large = Buffer.from(JSON.stringify({ do: 'size', pad: 'x'.repeat(MIB) }));
    const plain = await stack.post(large);
    const zipped = await stack.post(gzipSync(large), { 'content-encoding': 'gzip' });
    const smallZipped = await stack.post(gzipSync('{"do":"echo","value":"zip"}'), { 'content-encoding': 'gzip' });
    const out = await stack.post({ do: 'bytes', size: MIB });
    const seen = { size: large.length, type: 'application/json' };
    expect(json((await stack.ended(plain)).bytes)).toEqual(seen);
    expect(json((await stack.ended(zipped)).bytes)).toEqual(seen);
    expect(json((await stack.ended(smallZipped)).bytes)).toEqual({ echo: 'zip' });
    const result = await stack.ended(out);
    expect([result.type, result.bytes.equals(Buffer.alloc(MIB, 7))]).toEqual(['application/octet-stream', true]);
  });

  it('fails the request that kills its host and leaves with exit code 1', async () => {
    const stack = await startWorkerStack({ maxAttempts: 1 });
    const ticket = await stack.post({ do: 'exit' });
    const unit = await stack.worker({ handler: kind.install(stack.handlers) });
    expect(await unit.exit).toEqual({ code: 1, signal: null });
    const ended = await stack.ended(ticket);
    expect([ended.status, ended.state]).toEqual([500, 'failed']);
    expect(ended.bytes.toString()).toContain('the handler died');
  });
});

describe('the life of a unit', () => {
  it('marks itself ready once the handler has loaded, on its ops port and by its file', async () => {
    const stack = await startWorkerStack();
    const readyFile = join(stack.handlers, 'run', 'ready');
    const opsPort = await freePort();
    const probe = async (path: string): Promise<number> => (await fetch(`http://127.0.0.1:${opsPort}${path}`)).status;
    writeFileSync(join(stack.handlers, 'gate'), '');
    const handler = join(stack.handlers, 'gated.ts');
    writeFileSync(
      handler,
      `import { existsSync } from 'node:fs';
       export async function load() { while (existsSync('gate')) await new Promise((r) => setTimeout(r, 10)); }
       export const predict = (batch) => batch.map(() => 1);`,
    );
    const unit = await stack.worker({ handler, readyFile, opsPort });
    await until(async () => (await probe('/healthz')) === 200, { what: 'the ops port' });
    expect([await probe('/readyz'), existsSync(readyFile)]).toEqual([503, false]);
    rmSync(join(stack.handlers, 'gate'));
    await until(() => existsSync(readyFile), { what: 'the ready file' });
    await until(async () => (await probe('/readyz')) === 200, { what: 'readiness' });
    const metrics = await (await fetch(`http://127.0.0.1:${opsPort}/metrics`)).text();
    expect(metrics).toContain('penstock_worker_requests_total{outcome="succeeded",component="unit"} 0');
    unit.child.kill('SIGTERM');
    expect(await unit.exit).toEqual({ code: 0, signal: null });
    expect(existsSync(readyFile)).toBe(false);
  });

  it('leaves with code 0 when the queue has been dry for the linger', async () => {
    const stack = await startWorkerStack({ lingerSeconds: 1 });
    const ticket = await stack.post({ do: 'echo', value: 1 });
    const unit = await stack.worker({ handler: TYPESCRIPT.install(stack.handlers) });
    expect((await stack.ended(ticket)).status).toBe(200);
    expect(await unit.exit).toEqual({ code: 0, signal: null });
    expect(unit.log()).toContain('"reason":"left"');
  });

  it('finishes what it holds after SIGTERM, leases nothing more, and leaves with code 0', async () => {
    const stack = await startWorkerStack();
    const tickets = [];
    for (let i = 0; i < 4; i++) tickets.push(await stack.post({ do: 'spin', ms: 400 }));
    const unit = await stack.worker({ handler: TYPESCRIPT.install(stack.handlers), concurrency: 2, batchSize: 1 });
    await until(() => callsIn(stack.handlers).includes('predict 1'), { what: 'the first predict' });
    unit.child.kill('SIGTERM');
    expect(await unit.exit).toEqual({ code: 0, signal: null });
    const states = await Promise.all(tickets.map((ticket) => stack.state(ticket)));
    expect(states).toEqual(['succeeded', 'succeeded', 'queued', 'queued']);
  });

  it('gives back what it cannot finish within the grace, no budget charged', async () => {
    const stack = await startWorkerStack();
    const ticket = await stack.post({ do: 'spin', ms: 3_600_000 });
    const unit = await stack.worker({ handler: TYPESCRIPT.install(stack.handlers), graceSeconds: 1 });
    await until(() => callsIn(stack.handlers).includes('predict 1'), { what: 'the predict' });
    unit.child.kill('SIGTERM');
    expect(await unit.exit).toEqual({ code: 0, signal: null });
    expect(await stack.state(ticket)).toBe('queued');
    expect(await stack.attempts(ticket)).toEqual(['released']);
  });

  it('leaves after maxJobs', async () => {
    const stack = await startWorkerStack();
    const tickets = [];
    for (let i = 0; i < 5; i++) tickets.push(await stack.post({ do: 'echo', value: i }));
    const settings = { handler: TYPESCRIPT.install(stack.handlers), concurrency: 2, maxJobs: 3 };
    const unit = await stack.worker(settings);
    expect(await unit.exit).toEqual({ code: 0, signal: null });
    const states = await Promise.all(tickets.map((ticket) => stack.state(ticket)));
    expect(states).toEqual(['succeeded', 'succeeded', 'succeeded', 'queued', 'queued']);
  });

  it('leaves with code 0 when its token is refused', async () => {
    const stack = await startWorkerStack();
    const other = await startWorkerStack();
    // A gateway of another fleet does not know the operator who signed the token.
    const unit = await stack.worker({ handler: TYPESCRIPT.install(stack.handlers), brokerUrl: other.internal });
    expect(await unit.exit).toEqual({ code: 0, signal: null });
    expect(unit.log()).toContain('"reason":"refused"');
    expect(callsIn(stack.handlers)).toEqual([]);
  });

  it('leaves with code 0 when it is retired while it waits for work', async () => {
    const stack = await startWorkerStack();
    const unit = await stack.worker({ handler: TYPESCRIPT.install(stack.handlers) });
    const known = async (): Promise<boolean> => (await stack.queue.demand('uid-echo')).units.length > 0;
    await until(known, { what: 'the first lease call' });
    expect(await stack.queue.retire('uid-echo', 'echo-1')).toBe('retired');
    expect(await unit.exit).toEqual({ code: 0, signal: null });
  });

  it('loses nothing when the gateway restarts in the middle', async () => {
    const fleet = await makeFleet();
    const queueDir = scratchDir();
    onTestFinished(() => rmSync(queueDir, { recursive: true, force: true }));
    const queue = openEmbeddedQueue({ file: join(queueDir, 'queue.db'), clock: systemClock, logger: silentLogger });
    const stack = await startWorkerStack({}, { fleet, queue, gateway: { leaseSeconds: 4 } });
    const handler = TYPESCRIPT.install(stack.handlers);
    await stack.worker({ handler, concurrency: 4, batchSize: 1, leaseWaitSeconds: 1 });
    const tickets = [];
    for (let i = 0; i < 20; i++) tickets.push(await stack.post({ do: 'spin', ms: 150 }));
    await until(() => callsIn(stack.handlers).filter((line) => line === 'predict 1').length >= 4, {
      what: 'some work',
    });
    await stack.gateway.stop();
    const done = (): number => callsIn(stack.handlers).filter((line) => line === 'predict 1').length;
    const before = done();
    await until(() => done() > before, { what: 'work going on without a gateway' });
    const ports = { internalPort: Number(new URL(stack.internal).port), clientPort: Number(new URL(stack.url).port) };
    const second = await startStack({ fleet, queue, gateway: { leaseSeconds: 4, ...ports } });
    const ended = await Promise.all(tickets.map((ticket) => stack.ended(ticket)));
    await second.close();
    await queue.close();
    expect(ended.map(({ status }) => status)).toEqual(tickets.map(() => 200));
    expect(done()).toBe(20);
  });

  it('stops a running request and never starts a waiting one when the client cancels', async () => {
    const stack = await startWorkerStack({}, { gateway: { leaseSeconds: 1 } });
    const running = await stack.post({ do: 'wait' });
    const waiting = await stack.post({ do: 'echo', value: 'never' });
    const last = await stack.post({ do: 'echo', value: 'last' });
    await stack.worker({ handler: TYPESCRIPT.install(stack.handlers), concurrency: 3, batchSize: 1 });
    await until(() => callsIn(stack.handlers).includes('predict 1'), { what: 'the first predict' });
    for (const ticket of [waiting, running])
      await fetch(`${stack.url}/v1/echo/requests/${ticket}`, { method: 'DELETE' });
    expect(json((await stack.ended(last)).bytes)).toEqual({ echo: 'last' });
    expect((await stack.ended(running)).status).toBe(409);
    expect((await stack.ended(waiting)).status).toBe(409);
    expect(callsIn(stack.handlers).filter((line) => line === 'predict 1')).toHaveLength(2);
  });

  it('ends with code 3 when the handler does not load, 2 when a setting is wrong', async () => {
    const stack = await startWorkerStack();
    writeFileSync(join(stack.handlers, 'broken.ts'), 'throw new Error("no weights here");');
    const broken = await stack.worker({ handler: 'broken.ts' });
    const misconfigured = await stack.worker({ handler: 'broken.ts', concurrency: 0 });
    expect((await broken.exit).code).toBe(3);
    expect(broken.log()).toContain('no weights here');
    expect((await misconfigured.exit).code).toBe(2);
    expect(misconfigured.log()).toMatch(/configuration: concurrency: must be >= 1/);
  });

  it('is told of bad input by a handler that throws InputError: 422, one attempt', async () => {
    const stack = await startWorkerStack();
    await stack.worker({ handler: TYPESCRIPT.install(stack.handlers) });
    const ticket = await stack.post({ do: 'input' });
    const ended = await stack.ended(ticket);
    expect([ended.status, ended.state]).toEqual([422, 'failed']);
    expect(ended.bytes.toString()).toContain('not a picture');
    expect(await stack.attempts(ticket)).toEqual(['input']);
  });

  it('keeps serving apps of its own revision only', async () => {
    const stack = await startWorkerStack();
    const unit = await stack.worker({ handler: TYPESCRIPT.install(stack.handlers) });
    await until(() => callsIn(stack.handlers).length > 0, { what: 'the load' });
    stack.apps.set(testApp({ revision: 'rev2' }));
    expect(await unit.exit).toEqual({ code: 0, signal: null });
  });
});
