// SPDX-License-Identifier: Apache-2.0
// Standalone as a person starts it: the real command, real units, a folder of its own.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { freePort } from '#test/servers/free-port.ts';
import { until } from '#test/until.ts';
import { ECHO, NO_LINGER, makeBench } from './standalone.harness.ts';
import type { Bench, Running } from './standalone.harness.ts';

let bench: Bench;

beforeEach(() => {
  bench = makeBench();
  bench.write('echo.ts', ECHO);
});

afterEach(async () => {
  await bench.remove();
});

const untilEmpty = async (): Promise<void> => {
  await until(() => bench.processes().length === 0, { what: 'the units to leave' });
};

const untilNoFiles = async (): Promise<void> => {
  await until(() => readdirSync(join(bench.data, 'units')).length === 0, { what: 'the units’ files to go' });
};

const PYTHON_ECHO = `
class Upper:
    def predict(self, batch):
        return [request.text().upper() for request in batch]
`;

/** An HTTP server that knows nothing of us. */
const MODEL_SERVER = `
import { createServer } from 'node:http';
createServer((request, response) => {
  let body = '';
  request.on('data', (chunk) => (body += chunk)).on('end', () => {
    response.setHeader('content-type', 'text/plain').end(request.method === 'GET' ? 'ok' : body.split('').reverse().join(''));
  });
}).listen(Number(process.argv[2]), '127.0.0.1');
`;

describe('apps from files', () => {
  test('are served from zero units, whatever they are written in, and their units leave', async () => {
    bench.app('ts', { scaling: NO_LINGER });
    bench.write('upper.py', PYTHON_ECHO);
    bench.app('py', { worker: { archetype: 'Handler', handler: 'upper:Upper' }, scaling: NO_LINGER });
    bench.write('server.mjs', MODEL_SERVER);
    const port = await freePort();
    const server = { port, path: '/', healthPath: '/' };
    const command = ['node', 'server.mjs'];
    bench.app('http', {
      worker: { archetype: 'Sidecar', command, args: [String(port)], server },
      scaling: NO_LINGER,
    });
    const standalone = await bench.start();
    expect(bench.processes()).toEqual([]);
    const cases = [
      ['ts', 'abc', 'abc'],
      ['py', 'abc', 'ABC'],
      ['http', 'abc', 'cba'],
    ] as const;
    const ended = await Promise.all(
      cases.map(async ([app, body]) => await standalone.ended(app, await standalone.submit(app, body))),
    );
    expect(ended).toEqual(cases.map(([, , text]) => ({ status: 200, state: 'succeeded', text })));
    await untilEmpty();
    await until(async () => (await standalone.units('default.ts')) === 0, { what: 'the metric to say so' });
    // One unit each, and none after the last answer; the repeat is answered from the record.
    expect(await (await standalone.post('ts', 'abc')).text()).toBe('abc');
    await untilNoFiles();
    expect(standalone.log().match(/"msg":"unit started"/g)).toHaveLength(3);
  });

  test('with a floor keep one warm unit that is not started again', async () => {
    bench.app('warm', { scaling: { minUnits: 1, maxUnits: 2, ...NO_LINGER } });
    const standalone = await bench.start();
    await until(async () => (await standalone.units('default.warm')) === 1, { what: 'the warm unit' });
    await until(() => standalone.said('"phase":"Ready"'), { what: 'the app to be ready' });
    for (const body of ['a', 'b', 'c']) await standalone.ended('warm', await standalone.submit('warm', body));
    const units = new Set<string | undefined>();
    for (const body of ['d', 'e', 'f']) {
      const ticket = await standalone.submit('warm', body);
      await standalone.ended('warm', ticket);
      for (const { unit } of (await standalone.record('warm', ticket)).attempts) units.add(unit);
    }
    expect(units.size).toBe(1);
    expect(standalone.log().match(/"msg":"unit started"/g)).toHaveLength(1);
    expect(standalone.said('unit has ended')).toBe(false);
  });

  test('tell by /healthz, /readyz and /metrics, away from the client port, how they are', async () => {
    bench.app('echo');
    const { url, opsUrl } = await bench.start();
    expect((await fetch(`${opsUrl}/healthz`)).status).toBe(200);
    expect((await fetch(`${opsUrl}/readyz`)).status).toBe(200);
    expect(await (await fetch(`${opsUrl}/metrics`)).text()).toContain('penstock_standalone_units{');
    expect((await fetch(`${url}/metrics`)).status).toBe(404);
  });
});

/** Slow enough that a kill finds it at work; one line per execution. */
const SLOW_ECHO = `
import { appendFileSync } from 'node:fs';
export const predict = (batch) => batch.map(async (request) => {
  await new Promise((resolve) => setTimeout(resolve, 100));
  appendFileSync('calls.log', request.id + '\\n');
  return request.text();
});
`;

const slowApp = (): void => {
  bench.write('slow.ts', SLOW_ECHO);
  const scaling = { concurrency: 2, ...NO_LINGER };
  bench.app('slow', { worker: { archetype: 'Handler', handler: 'slow.ts' }, scaling });
};

async function submitMany(standalone: Running, count: number): Promise<Map<string, string>> {
  const tickets = new Map<string, string>();
  for (let i = 0; i < count; i++) tickets.set(await standalone.submit('slow', `body ${i}`), `body ${i}`);
  return tickets;
}

describe('kill -9', () => {
  test('in the middle of 60 requests: units end by themselves, and after a restart every request is answered once', async () => {
    slowApp();
    const first = await bench.start('--lease-seconds', '3');
    const tickets = await submitMany(first, 60);
    await until(() => bench.lines('calls.log').length >= 10, { what: 'ten executions' });
    expect(bench.processes().length).toBeGreaterThan(0);
    process.kill(first.pid, 'SIGKILL');
    await first.exited;
    await untilEmpty();
    const executed = bench.lines('calls.log').length;
    expect(executed).toBeLessThan(60);
    expect(existsSync(join(bench.data, 'units'))).toBe(true);

    const second = await bench.start('--lease-seconds', '3');
    for (const [ticket, body] of tickets) {
      expect(await second.ended('slow', ticket)).toEqual({ status: 200, state: 'succeeded', text: body });
      const { attempts } = await second.record('slow', ticket);
      expect(attempts.filter(({ outcome }) => outcome === 'succeeded')).toHaveLength(1);
    }
    // At most what one unit held when it was killed ran twice.
    expect(bench.lines('calls.log').length).toBeLessThanOrEqual(60 + 2);
    await untilEmpty();
    await untilNoFiles();
  });

  test('of a unit: its requests are given to the next one', async () => {
    slowApp();
    const standalone = await bench.start('--lease-seconds', '3');
    const tickets = await submitMany(standalone, 20);
    await until(() => bench.lines('calls.log').length >= 3, { what: 'three executions' });
    const pid = Number(/"pid":(\d+),"msg":"unit started"/.exec(standalone.log())?.[1]);
    expect(bench.processes()).toContain(pid);
    process.kill(pid, 'SIGKILL');
    for (const [ticket, body] of tickets) expect((await standalone.ended('slow', ticket)).text).toBe(body);
    expect(standalone.said('"msg":"unit has ended"')).toBe(true);
  });
});

describe('the end', () => {
  test.each(['SIGTERM', 'SIGINT'] as const)(
    '%s to the terminal’s group finishes what runs, keeps what waits and leaves no process',
    async (signal) => {
      slowApp();
      const standalone = await bench.start();
      const tickets = await submitMany(standalone, 40);
      await until(() => bench.lines('calls.log').length >= 3, { what: 'three executions' });
      expect(await standalone.signal(signal)).toBe(0);
      expect(bench.processes()).toEqual([]);
      expect(readdirSync(join(bench.data, 'units'))).toEqual([]);
      const executed = bench.lines('calls.log');
      expect(executed.length).toBeLessThan(40);
      const again = await bench.start();
      for (const [ticket, body] of tickets) expect((await again.ended('slow', ticket)).text).toBe(body);
      // In order: nothing that had run was run again.
      expect(new Set(bench.lines('calls.log')).size).toBe(40);
      expect(bench.lines('calls.log')).toHaveLength(40);
    },
  );

  test('a terminal that is closed stops it in order too, although nobody can read the log any more', async () => {
    slowApp();
    const standalone = await bench.startInTerminal();
    const tickets = await submitMany(standalone, 40);
    await until(() => bench.lines('calls.log').length >= 3, { what: 'three executions' });
    await standalone.signal('SIGKILL');
    await untilEmpty();
    expect(bench.lines('calls.log').length).toBeLessThan(40);
    // It holds the lock of the data until it has ended.
    const again = await until(async () => await bench.start(), { what: 'the data to be free', timeoutMs: 30_000 });
    for (const [ticket, body] of tickets) expect((await again.ended('slow', ticket)).text).toBe(body);
    expect(bench.lines('calls.log')).toHaveLength(40);
  });

  test('SIGHUP without a terminal, as under nohup, stops nothing', async () => {
    bench.app('echo', { scaling: NO_LINGER });
    const standalone = await bench.start();
    process.kill(standalone.pid, 'SIGHUP');
    expect((await standalone.ended('echo', await standalone.submit('echo', 'still here'))).text).toBe('still here');
    expect(standalone.said('"msg":"stopping"')).toBe(false);
  });

  test('Ctrl-C a second time does not wait for a unit that is busy', async () => {
    bench.write('stuck.ts', 'export const predict = () => { for (;;); };');
    bench.app('stuck', { worker: { archetype: 'Handler', handler: 'stuck.ts' } });
    const standalone = await bench.start();
    const ticket = await standalone.submit('stuck', 'x');
    await until(async () => (await standalone.record('stuck', ticket)).state === 'leased', { what: 'the lease' });
    process.kill(-standalone.pid, 'SIGINT');
    await until(() => standalone.said('"msg":"stopping"'), { what: 'the first Ctrl-C to be heard' });
    expect(await standalone.signal('SIGINT')).toBe(130);
    await untilEmpty();
  });
});
