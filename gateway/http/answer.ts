// SPDX-License-Identifier: Apache-2.0
import type { OutgoingHttpHeaders } from 'node:http';
import { PROBLEM_TYPE, ProblemError } from '#base/problem.ts';
import { internalError } from '../errors.ts';
import { DISCARD_BYTES, LINGER_BYTES, LINGER_MS } from '../limits.ts';
import type { Exchange } from './exchange.ts';

const JSON_TYPE = 'application/json';

/** Bytes that go out as text; larger ones are not copied. */
const TEXT_MAX_BYTES = 16 * 1024;

/** Writes the whole answer at once: one header block, one body. */
export function answerBytes(x: Exchange, status: number, headers: OutgoingHttpHeaders, body: Uint8Array): void {
  x.res.writeHead(status, { ...headers, 'content-length': body.length, 'x-request-id': x.requestId });
  if (body.length > TEXT_MAX_BYTES) x.res.end(body);
  else endWithText(x, latin1Of(body));
}

export function answerJson(x: Exchange, status: number, value: unknown, headers: OutgoingHttpHeaders = {}): void {
  const text = JSON.stringify(value);
  const bytes = Buffer.byteLength(text);
  x.res.writeHead(status, {
    'content-type': JSON_TYPE,
    ...headers,
    'content-length': bytes,
    'x-request-id': x.requestId,
  });
  if (bytes === text.length) endWithText(x, text);
  else x.res.end(text);
}

/**
 * One character for each byte. Node writes head and text by one write(2), head and bytes by a gathered one that takes twice as long;
 * and Latin-1 is copied, where UTF-8 is encoded.
 */
function endWithText({ res }: Exchange, text: string): void {
  res.end(text, 'latin1');
}

function latin1Of(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
}

export function answerEmpty(x: Exchange, status: number, headers: OutgoingHttpHeaders = {}): void {
  // RFC 9110 §8.6: no Content-Length on 204.
  x.res.writeHead(status, {
    ...headers,
    ...(status === 204 ? {} : { 'content-length': 0 }),
    'x-request-id': x.requestId,
  });
  x.res.end();
}

/** The error as a problem document; anything but a ProblemError becomes a 500 without details. */
export function answerError(x: Exchange, err: unknown): void {
  const problem = err instanceof ProblemError ? err : internalError(err);
  if (x.res.destroyed || x.res.writableEnded) return;
  if (x.res.headersSent) {
    // Half an answer is out already: the only honest end is a cut connection.
    x.res.destroy();
    return;
  }
  const body = Buffer.from(JSON.stringify({ ...problem.toProblem(), instance: `urn:penstock:request:${x.requestId}` }));
  const headers = { ...x.rate, ...problem.headers, 'content-type': PROBLEM_TYPE, 'cache-control': 'no-store' };
  if (mayKeepConnection(x)) answerBytes(x, problem.status, headers, body);
  else answerAndLinger(x, problem.status, headers, body);
}

/** Whether the rest of the request's body is little enough to be read off and thrown away, as Node does by itself. */
function mayKeepConnection({ req }: Exchange): boolean {
  if (req.complete || req.headers.expect !== undefined) return req.complete;
  if (req.headers['transfer-encoding'] !== undefined) return false;
  return Number(req.headers['content-length'] ?? 0) <= DISCARD_BYTES;
}

/**
 * A client that still sends would lose an answer if the socket closed at once (its data meets a reset, RFC 9112 §9.6):
 * the answer goes out whole, then some of what it sends is thrown away, then the connection ends.
 */
function answerAndLinger(
  { req, res, requestId }: Exchange,
  status: number,
  headers: OutgoingHttpHeaders,
  body: Buffer,
): void {
  res.writeHead(status, { ...headers, connection: 'close', 'content-length': body.length, 'x-request-id': requestId });
  if (req.method !== 'HEAD') res.write(body);
  else res.flushHeaders();
  let thrown = 0;
  const end = (): void => {
    clearTimeout(timer);
    req.removeAllListeners('data');
    res.end();
  };
  const timer = setTimeout(end, LINGER_MS);
  req.on('data', (chunk: Buffer) => {
    thrown += chunk.length;
    if (thrown > LINGER_BYTES) end();
  });
  req.once('end', end);
  req.once('close', end);
  req.resume();
}
