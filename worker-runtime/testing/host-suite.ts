// SPDX-License-Identifier: Apache-2.0
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { systemClock } from '#base/clock.ts';
import { silentLogger } from '#base/logger.ts';
import type { Outcome, WorkItem } from '../executor.ts';
import { HandlerExecutor } from '../hosts/handler-executor.ts';
import type { Channel } from '../hosts/protocol.ts';
import { openPython } from '../hosts/python-channel.ts';
import { openThread } from '../hosts/thread-channel.ts';

/** One kind of host with a handler that does what a request's `do` says; both kinds do the same. */
export interface HostKind {
  readonly name: string;
  /** Writes the handler into `dir` and answers what `spec.worker.handler` would say (absolute for TypeScript). */
  install(dir: string): string;
  open(dir: string): Channel;
}

const TYPESCRIPT = `
import { appendFileSync, existsSync } from 'node:fs';
export const batchSize = 8;
const log = new URL('./calls.log', import.meta.url);
export async function load(context) {
  if (process.env.LOAD === 'throw') throw new Error('no weights');
  if (process.env.LOAD === 'spin') for (;;);
  appendFileSync(log, 'load ' + context.instance + ' begins\\n');
  await new Promise((resolve) => setTimeout(resolve, 50));
  appendFileSync(log, 'load ' + context.instance + ' ends\\n');
}
async function one(request) {
  const ask = request.json();
  const spin = () => { const until = Date.now() + ask.ms; while (Date.now() < until); };
  switch (ask.do) {
    case 'echo': return { echo: ask.value ?? null };
    case 'text': return 'grüße';
    case 'bytes': return new Uint8Array(ask.size).fill(7);
    case 'typed': return { body: new Uint8Array([1, 2, 3]), contentType: 'image/x-test' };
    case 'size': return { size: request.body.length, type: request.contentType };
    case 'throw': throw new Error('bad record ' + ask.value);
    case 'input': { const err = new Error('not a picture'); err.name = 'InputError'; throw err; }
    case 'print': console.log('\\u0000 stdout noise'); console.error('stderr noise'); return { printed: true };
    case 'spin': spin(); return { spun: ask.ms };
    case 'wait': await new Promise((resolve) => request.signal.addEventListener('abort', resolve)); return { aborted: true };
    case 'exit': process.exit(3);
    case 'nothing': return undefined;
  }
}
export async function predict(batch) {
  appendFileSync(log, 'predict ' + batch.length + '\\n');
  const results = [];
  for (const request of batch) results.push(await one(request));
  return batch.length === 1 && batch[0].json().do === 'short' ? [] : results;
}
export function health() {
  if (process.env.UNWELL || existsSync(new URL('./unwell', import.meta.url))) throw new Error('lost the GPU');
}
`;

const PYTHON = `
import os, sys, time
from penstock_worker import Result

def log(line):
    with open(os.path.join(os.path.dirname(__file__), "calls.log"), "a") as file:
        file.write(line + "\\n")

class InputError(Exception):
    pass

class Model:
    batch_size = 8

    def load(self, context):
        if os.environ.get("LOAD") == "throw":
            raise RuntimeError("no weights")
        while os.environ.get("LOAD") == "spin":
            pass
        log(f"load {context.instance} begins")
        time.sleep(0.05)
        log(f"load {context.instance} ends")

    def one(self, request):
        ask = request.json()
        do = ask["do"]
        if do == "echo": return {"echo": ask.get("value")}
        if do == "text": return "grüße"
        if do == "bytes": return bytes([7]) * ask["size"]
        if do == "typed": return Result(bytes([1, 2, 3]), "image/x-test")
        if do == "size": return {"size": len(request.body), "type": request.content_type}
        if do == "throw": raise RuntimeError(f"bad record {ask['value']}")
        if do == "input": raise InputError("not a picture")
        if do == "print":
            print("\\0 stdout noise", flush=True)
            os.write(1, b"raw stdout noise\\n")
            print("stderr noise", file=sys.stderr)
            return {"printed": True}
        if do == "spin":
            until = time.time() + ask["ms"] / 1000
            while time.time() < until:
                pass
            return {"spun": ask["ms"]}
        if do == "wait":
            request.cancelled.wait()
            return {"aborted": True}
        if do == "exit": sys.exit(3)
        if do == "nothing": return lambda: None
        return None

    def predict(self, batch):
        log(f"predict {len(batch)}")
        results = [self.one(request) for request in batch]
        return [] if len(batch) == 1 and batch[0].json()["do"] == "short" else results

    def health(self):
        if os.environ.get("UNWELL") or os.path.exists(os.path.join(os.path.dirname(__file__), "unwell")):
            raise RuntimeError("lost the GPU")
`;

const THREAD_ENTRY = new URL('../thread-entry.ts', import.meta.url);
const PYTHON_SCRIPT = new URL('../python/penstock_worker.py', import.meta.url);

export const HOST_KINDS: readonly HostKind[] = [
  {
    name: 'TypeScript in a thread',
    install: (dir) => {
      writeFileSync(join(dir, 'model.ts'), TYPESCRIPT);
      return join(dir, 'model.ts');
    },
    open: () => openThread(THREAD_ENTRY),
  },
  {
    name: 'Python in a child process',
    install: (dir) => {
      writeFileSync(join(dir, 'model.py'), PYTHON);
      return 'model:Model';
    },
    open: (dir) => openPython('python3', PYTHON_SCRIPT, dir),
  },
];

export interface HostOptions {
  readonly instances?: number;
  readonly readyTimeoutMs?: number;
  readonly healthEveryMs?: number;
}

export function executorOf(kind: HostKind, dir: string, options: HostOptions = {}): HandlerExecutor {
  return new HandlerExecutor({
    openChannel: () => kind.open(dir),
    handler: kind.install(dir),
    unit: 'demo-1',
    app: 'default.demo',
    instances: options.instances ?? 1,
    batchSize: 0,
    readyTimeoutMs: options.readyTimeoutMs ?? 20_000,
    healthEveryMs: options.healthEveryMs ?? 30_000,
    clock: systemClock,
    logger: silentLogger,
  });
}

export interface TestItem extends WorkItem {
  readonly cancel: () => void;
}

export function itemOf(body: unknown, more: Partial<WorkItem> = {}): TestItem {
  const abort = new AbortController();
  return {
    id: `item-${crypto.randomUUID()}`,
    body: body instanceof Uint8Array ? body : Buffer.from(JSON.stringify(body)),
    contentType: 'application/json',
    attempt: 1,
    timeoutMs: 30_000,
    signal: abort.signal,
    cancel: () => abort.abort(),
    ...more,
  };
}

/** Runs items as one batch and answers their outcomes in the same order; undefined where none was reported. */
export async function runBatch(
  executor: HandlerExecutor,
  items: readonly WorkItem[],
): Promise<readonly (Outcome | undefined)[]> {
  const outcomes = new Map<WorkItem, Outcome>();
  await executor.run(0, items, (item, outcome) => {
    if (outcomes.has(item)) throw new Error(`${item.id} was reported twice`);
    outcomes.set(item, outcome);
  });
  return items.map((item) => outcomes.get(item));
}

/** The JSON of a success, `kind: message` of a failure, `returned`. */
export function shown(outcome: Outcome | undefined): unknown {
  if (outcome === undefined) return 'not reported';
  if (outcome.kind === 'failed') return `${outcome.failure.kind}: ${outcome.failure.message}`;
  if (outcome.kind === 'returned') return 'returned';
  return outcome.contentType === 'application/json'
    ? (JSON.parse(Buffer.from(outcome.body).toString('utf8')) as unknown)
    : `${outcome.contentType} ${outcome.body.length}`;
}
