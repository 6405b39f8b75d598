// SPDX-License-Identifier: Apache-2.0
// Entry of a handler's thread: loads the module, runs predict, answers over the parent's port. Everything here may be blocked by
// user code for as long as it likes; heartbeats live in the main thread.
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parentPort } from 'node:worker_threads';
import { isObject } from '#base/json.ts';
import { InputError } from './handler.ts';
import type { Handler, HandlerRequest, HandlerResult, HandlerResults } from './handler.ts';
import type { Answer, Ask, ItemAnswer, Message, WireError } from './hosts/protocol.ts';

const port = parentPort;
if (port === null) throw new Error('thread-entry runs as a worker thread of a unit');

let handler: Handler | undefined;
const aborts = new Map<string, AbortController>();

const serve = async ({ head, parts }: { head: Ask; parts: readonly Uint8Array[] }): Promise<void> => {
  if (head.op === 'abort') return aborts.get(head.item)?.abort(new Error('the client cancelled'));
  let answer: Message;
  try {
    if (head.op === 'load') answer = ok(head.id, await load(head));
    else if (head.op === 'health') {
      await handler?.health?.();
      answer = ok(head.id, {});
    } else answer = await predict(head, parts);
  } catch (err) {
    const error = errorOf(err);
    // The cause travels without its stack; whoever debugs the handler finds that in the unit's log.
    if (error.kind === 'handler') console.error(err);
    answer = { head: { re: head.id, ok: false, error }, parts: [] };
  }
  // Copies, so that the handler may keep what it returned.
  const copies = answer.parts.map((part) => new Uint8Array(part));
  port.postMessage(
    { head: answer.head, parts: copies },
    copies.map(({ buffer }) => buffer),
  );
};

port.on('message', (message: { head: Ask; parts: readonly Uint8Array[] }) => void serve(message));

function ok(
  re: number,
  more: Omit<Extract<Answer, { ok: true }>, 're' | 'ok'>,
  parts: readonly Uint8Array[] = [],
): Message {
  return { head: { re, ok: true, ...more }, parts };
}

async function load(ask: Extract<Ask, { op: 'load' }>): Promise<{ batchSize?: number }> {
  const module: unknown = await import(pathToFileURL(resolve(ask.handler)).href);
  const found = findHandler(module);
  if (found === undefined) throw new Error(`${ask.handler} does not export a function predict`);
  handler = found;
  const { instance, unit, app } = ask;
  await found.load?.({ instance, unit, app, inputError: (message) => new InputError(message) });
  const { batchSize } = found;
  if (batchSize === undefined) return {};
  if (!Number.isInteger(batchSize) || batchSize < 1) throw new Error('batchSize must be a whole number of at least 1');
  return { batchSize };
}

/** The module itself, or its default export. */
function findHandler(module: unknown): Handler | undefined {
  for (const candidate of [module, isModule(module) ? module['default'] : undefined]) {
    if (isModule(candidate) && typeof candidate['predict'] === 'function') return candidate as unknown as Handler;
  }
  return undefined;
}

function isModule(value: unknown): value is Record<string, unknown> {
  return isObject(value);
}

async function predict(ask: Extract<Ask, { op: 'predict' }>, parts: readonly Uint8Array[]): Promise<Message> {
  const batch = ask.items.map((item, index) => toRequest(item, parts[index] ?? new Uint8Array()));
  try {
    const results: unknown = await handler?.predict(batch);
    if (!Array.isArray(results) || results.length !== batch.length)
      throw new TypeError(`predict must return an array of ${batch.length} results, one for each request`);
    const settled = await Promise.allSettled((results as HandlerResults).map(async (result) => result));
    const encoded = settled.map((one) => (one.status === 'fulfilled' ? encode(one.value) : failed(one.reason)));
    return ok(
      ask.id,
      { answers: encoded.map(({ answer }) => answer) },
      encoded.map(({ body }) => body),
    );
  } finally {
    for (const { id } of ask.items) aborts.delete(id);
  }
}

function toRequest(item: { id: string; contentType: string }, body: Uint8Array): HandlerRequest {
  const abort = new AbortController();
  aborts.set(item.id, abort);
  const text = (): string => new TextDecoder().decode(body);
  return {
    ...item,
    body,
    text,
    json: () => {
      try {
        return JSON.parse(text()) as unknown;
      } catch (err) {
        throw new InputError(`the body is not JSON: ${err instanceof Error ? err.message : String(err)}`);
      }
    },
    signal: abort.signal,
  };
}

interface Encoded {
  readonly answer: ItemAnswer;
  readonly body: Uint8Array;
}

const OCTETS = 'application/octet-stream';
const TEXT = 'text/plain; charset=utf-8';
const JSON_TYPE = 'application/json';
const NOTHING = new Uint8Array();

function encode(result: HandlerResult | undefined): Encoded {
  if (result instanceof Error) return failed(result);
  if (result instanceof Uint8Array) return { answer: { contentType: OCTETS }, body: result };
  if (typeof result === 'string') return { answer: { contentType: TEXT }, body: Buffer.from(result) };
  if (isObject(result) && typeof result['contentType'] === 'string' && Object.keys(result).length === 2) {
    const { body, contentType } = result;
    if (body instanceof Uint8Array) return { answer: { contentType }, body };
    if (typeof body === 'string') return { answer: { contentType }, body: Buffer.from(body) };
  }
  try {
    const json = JSON.stringify(result);
    // undefined, a function or a symbol: the handler forgot its result.
    if (json === undefined) throw new TypeError('predict returned no result for this request');
    return { answer: { contentType: JSON_TYPE }, body: Buffer.from(json) };
  } catch (err) {
    return failed(err);
  }
}

function failed(err: unknown): Encoded {
  return { answer: { error: errorOf(err) }, body: NOTHING };
}

/** By name, so that a handler needs no import to say that its input is bad. */
function errorOf(err: unknown): WireError {
  if (!(err instanceof Error)) return { kind: 'handler', message: String(err) };
  return err.name === 'InputError'
    ? { kind: 'input', message: err.message }
    : { kind: 'handler', message: `${err.name}: ${err.message}` };
}
