// SPDX-License-Identifier: Apache-2.0
// The Sidecar adapter with HTTP servers that know nothing of Penstock: one on node:http, one on Python's http.server.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { expect, it, onTestFinished } from 'vitest';
import { closeServer, listen } from '#base/ops-server.ts';
import { freePort } from '#test/servers/free-port.ts';
import { until } from '#test/until.ts';
import { isAlive, startWorkerStack } from './worker.harness.ts';
import type { WorkerStack } from './worker.harness.ts';

const MIB = 1024 * 1024;

async function modelServer(serve: (body: Buffer, q: IncomingMessage, s: ServerResponse) => void): Promise<number> {
  const listener: RequestListener = (request, response) => {
    if (request.url === '/healthz') return void response.end('ok');
    return void buffer(request).then((body) => serve(body, request, response));
  };
  const server = createServer(listener);
  onTestFinished(async () => {
    server.closeAllConnections();
    await closeServer(server);
  });
  return listen(server, '127.0.0.1', 0);
}

const SIDECAR = { archetype: 'Sidecar', serverPath: '/v1/predict?mode=fast' } as const;

it('feeds verbatim bytes by the method, path and content type asked for, and stores what comes back', async () => {
  const seen: unknown[] = [];
  const serverPort = await modelServer((body, { method, url, headers }, response) => {
    seen.push({ method, url, type: headers['content-type'], coding: headers['content-encoding'], bytes: body.length });
    response.writeHead(201, { 'content-type': 'image/x-echo' }).end(body);
  });
  const stack = await startWorkerStack();
  await stack.worker({ ...SIDECAR, serverPort, serverMethod: 'PUT' });
  const noise = Buffer.from(Uint8Array.from({ length: MIB }, (_, i) => (i * 31 + (i >> 8)) % 256));
  const ended = await stack.ended(await stack.post(noise, { 'content-type': 'image/x-noise' }));
  expect([ended.status, ended.type, ended.bytes.equals(noise)]).toEqual([200, 'image/x-echo', true]);
  const expected = {
    method: 'PUT',
    url: '/v1/predict?mode=fast',
    type: 'image/x-noise',
    coding: undefined,
    bytes: MIB,
  };
  expect(seen).toEqual([expected]);
});

it('sends the content type of the server block when there is one', async () => {
  const serverPort = await modelServer((_, { headers }, response) => void response.end(headers['content-type']));
  const stack = await startWorkerStack();
  await stack.worker({ ...SIDECAR, serverPort, serverContentType: 'application/x-model' });
  const ended = await stack.ended(await stack.post({ a: 1 }));
  expect([ended.type, ended.bytes.toString()]).toEqual(['application/octet-stream', 'application/x-model']);
});

it('tells bad input (4xx) from trouble (5xx, 429, a broken connection), each with what the server said', async () => {
  const serverPort = await modelServer((body, _request, response) => {
    const { status } = JSON.parse(body.toString()) as { status: number };
    if (status === 0) response.destroy();
    else response.writeHead(status).end(`says ${status}`);
  });
  const stack = await startWorkerStack({ maxAttempts: 2 });
  await stack.worker({ ...SIDECAR, serverPort, concurrency: 4 });
  const of = async (status: number): Promise<unknown[]> => {
    const ticket = await stack.post({ status });
    const ended = await stack.ended(ticket);
    return [
      ended.status,
      /says \d+|broke the connection/.exec(ended.bytes.toString())?.[0],
      await stack.attempts(ticket),
    ];
  };
  expect(await of(400)).toEqual([422, 'says 400', ['input']]);
  expect(await of(422)).toEqual([422, 'says 422', ['input']]);
  expect(await of(429)).toEqual([500, 'says 429', ['handler', 'handler']]);
  expect(await of(500)).toEqual([500, 'says 500', ['handler', 'handler']]);
  expect(await of(302)).toEqual([500, 'says 302', ['handler', 'handler']]);
  expect(await of(0)).toEqual([500, 'broke the connection', ['handler', 'handler']]);
});

it('keeps as many requests in flight as concurrency says, refilled on each completion', async () => {
  let inFlight = 0;
  const levels: number[] = [];
  const held: (() => void)[] = [];
  const serverPort = await modelServer((_body, _request, response) => {
    levels.push(++inFlight);
    held.push(() => {
      inFlight--;
      response.end('done');
    });
  });
  const stack = await startWorkerStack();
  await stack.worker({ ...SIDECAR, serverPort, concurrency: 3 });
  const tickets = [];
  for (let i = 0; i < 7; i++) tickets.push(await stack.post({ i }));
  for (let i = 0; i < 7; i++) {
    const wanted = Math.min(3, 7 - i);
    await until(() => inFlight === wanted, { what: `${wanted} in flight after ${i} answers` });
    held.shift()?.();
  }
  for (const ticket of tickets) expect((await stack.ended(ticket)).status).toBe(200);
  expect(Math.max(...levels)).toBe(3);
});

it('fails a request that is past its timeout and aborts it at the server', async () => {
  let aborted = 0;
  const serverPort = await modelServer((_body, request) => void request.socket.once('close', () => aborted++));
  const stack = await startWorkerStack({ timeoutSeconds: 1, maxAttempts: 1 });
  await stack.worker({ ...SIDECAR, serverPort });
  const ended = await stack.ended(await stack.post({}));
  expect([ended.status, ended.state]).toEqual([500, 'failed']);
  expect(ended.bytes.toString()).toContain('timeoutSeconds');
  await until(() => aborted === 1, { what: 'the connection to close' });
});

it('aborts the request at the server when the client cancels', async () => {
  let aborted = 0;
  let begun = 0;
  const serverPort = await modelServer((_body, request) => {
    begun++;
    request.socket.once('close', () => aborted++);
  });
  const stack = await startWorkerStack({}, { gateway: { leaseSeconds: 1 } });
  await stack.worker({ ...SIDECAR, serverPort });
  const ticket = await stack.post({});
  await until(() => begun === 1, { what: 'the request at the server' });
  await fetch(`${stack.url}/v1/echo/requests/${ticket}`, { method: 'DELETE' });
  await until(() => aborted === 1, { what: 'the connection to close' });
  expect((await stack.ended(ticket)).status).toBe(409);
});

it('exits with code 3 when the model server is not healthy in time', async () => {
  const stack = await startWorkerStack();
  const unit = await stack.worker({ ...SIDECAR, serverPort: await freePort(), readyTimeoutSeconds: 1 });
  expect(await unit.exit).toEqual({ code: 3, signal: null });
  expect(unit.log()).toContain('the model server was not healthy within 1 s');
});

/** An HTTP server for Python's standard library, as somebody may have written it long before Penstock. */
const PYTHON_SERVER = `
import http.server, os, subprocess, sys, time

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if body == b"die":
            os._exit(9)
        if body == b"slow":
            time.sleep(1.5)
        self.send_response(200)
        self.send_header("content-type", "text/x-upper")
        self.end_headers()
        self.wfile.write(body.upper())

helper = subprocess.Popen(["sleep", "3600"])
with open("pids", "w") as file:
    file.write(f"{os.getpid()} {helper.pid}\\n")
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
`;

interface Launched {
  readonly settings: Parameters<WorkerStack['worker']>[0];
  readonly pids: () => readonly number[];
}

async function pythonServer(stack: WorkerStack): Promise<Launched> {
  const serverPort = await freePort();
  const script = join(stack.handlers, 'server.py');
  writeFileSync(script, PYTHON_SERVER);
  const command = JSON.stringify(['python3', script, String(serverPort)]);
  return {
    settings: { archetype: 'Sidecar', serverPort, serverHealthPath: '/health', command },
    pids: () => readFileSync(join(stack.handlers, 'pids'), 'utf8').trim().split(' ').map(Number),
  };
}

it('starts the model server itself where there is no kubelet, and ends it with everything it started', async () => {
  const stack = await startWorkerStack({ lingerSeconds: 1 });
  const { settings, pids } = await pythonServer(stack);
  const unit = await stack.worker(settings);
  const ended = await stack.ended(await stack.post(Buffer.from('grüße'), { 'content-type': 'text/plain' }));
  expect([ended.type, ended.bytes.toString()]).toEqual(['text/x-upper', 'GRüßE']);
  expect(pids().map(isAlive)).toEqual([true, true]);
  expect(await unit.exit).toEqual({ code: 0, signal: null });
  await until(() => !pids().some(isAlive), { what: 'the model server to end' });
});

it('kill -9 of the unit ends the model server that it started, with everything that one started', async () => {
  const stack = await startWorkerStack();
  const { settings, pids } = await pythonServer(stack);
  const unit = await stack.worker(settings);
  await until(() => pids().length === 2, { what: 'the model server' });
  const started = pids();
  expect(started.map(isAlive)).toEqual([true, true]);
  process.kill(unit.pid, 'SIGKILL');
  await until(() => !started.some(isAlive), { what: 'the model server to end' });
});

it('exits with code 1 when the model server that it started dies, and charges the request that killed it', async () => {
  const stack = await startWorkerStack({ maxAttempts: 1 });
  const { settings, pids } = await pythonServer(stack);
  const unit = await stack.worker(settings);
  const ticket = await stack.post(Buffer.from('die'), { 'content-type': 'text/plain' });
  expect(await unit.exit).toEqual({ code: 1, signal: null });
  const ended = await stack.ended(ticket);
  expect([ended.status, ended.state]).toEqual([500, 'failed']);
  expect(ended.bytes.toString()).toContain('the model server died');
  await until(() => !pids().some(isAlive), { what: 'its helper to end' });
});

it('exits with code 1 when a model server that somebody else started goes away while nothing runs', async () => {
  const stack = await startWorkerStack();
  const { settings } = await pythonServer(stack);
  const [program = '', ...args] = JSON.parse(String(settings.command)) as string[];
  const server = spawn(program, args, { cwd: stack.handlers, stdio: 'ignore', detached: true });
  const killServer = (): void => {
    if (server.exitCode === null && server.signalCode === null) process.kill(-(server.pid ?? 0), 'SIGKILL');
  };
  onTestFinished(killServer);
  const unit = await stack.worker({ ...settings, command: '' });
  const ended = await stack.ended(await stack.post(Buffer.from('a'), { 'content-type': 'text/plain' }));
  expect(ended.bytes.toString()).toBe('A');
  killServer();
  await once(server, 'exit');
  expect(await unit.exit).toEqual({ code: 1, signal: null });
  expect(unit.log()).toContain('the model server is gone');
});

it('gives requests beside the one that kills the server back unharmed', async () => {
  const stack = await startWorkerStack({ maxAttempts: 1 });
  const { settings } = await pythonServer(stack);
  const slow = await stack.post(Buffer.from('slow'), { 'content-type': 'text/plain' });
  const deadly = await stack.post(Buffer.from('die'), { 'content-type': 'text/plain' });
  // As the operator would: a new unit for each that dies.
  for (let i = 1; i <= 3; i++) {
    const unit = await stack.worker({ ...settings, concurrency: 2 }, `echo-${i}`);
    expect((await unit.exit).code).toBe(1);
  }
  await stack.worker({ ...settings, concurrency: 2 }, 'echo-4');
  expect((await stack.ended(slow)).bytes.toString()).toBe('SLOW');
  expect((await stack.ended(deadly)).state).toBe('failed');
  expect(await stack.attempts(deadly)).toEqual(['released', 'released', 'handler']);
});

it('refuses to feed a stranger: the port of the server that it is to start is taken', async () => {
  const stack = await startWorkerStack();
  const serverPort = await modelServer((_body, _request, response) => void response.end());
  const unit = await stack.worker({ ...SIDECAR, serverPort, command: '["sleep","60"]' });
  expect(await unit.exit).toEqual({ code: 3, signal: null });
  expect(unit.log()).toContain('taken by another process');
});
