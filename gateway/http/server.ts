// SPDX-License-Identifier: Apache-2.0
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { PROBLEM_TYPE } from '#base/problem.ts';
import type { ProblemError } from '#base/problem.ts';
import type { AccessLogger } from '../access-log.ts';
import { gatewayError } from '../errors.ts';
import {
  HEADERS_TIMEOUT_MS,
  IDLE_SOCKET_MS,
  KEEP_ALIVE_MS,
  MAX_CONNECTIONS,
  MAX_HEADER_BYTES,
  REQUEST_TIMEOUT_MS,
  TIMEOUT_CHECK_MS,
} from '../limits.ts';
import type { RequestIds } from './exchange.ts';

export type Handler = (req: IncomingMessage, res: ServerResponse) => void;

/** What answers need that no handler gives, because no request was understood. */
export interface RawAnswers {
  readonly port: 'client' | 'internal';
  readonly requestIds: RequestIds;
  readonly accessLog: AccessLogger;
}

/** Shorter times, for tests of slow clients. */
export interface HttpTimeouts {
  readonly headersMs?: number;
  readonly requestMs?: number;
  readonly checkMs?: number;
}

/**
 * node:http with every answer of its own replaced by a problem document: parse errors, oversized headers, timeouts,
 * CONNECT. `Expect: 100-continue` reaches the handler like any request; the body's reader sends the 100.
 */
export function createHttpServer(handler: Handler, raw: RawAnswers, timeouts: HttpTimeouts = {}): Server {
  const server = createServer({
    maxHeaderSize: MAX_HEADER_BYTES,
    headersTimeout: timeouts.headersMs ?? HEADERS_TIMEOUT_MS,
    requestTimeout: timeouts.requestMs ?? REQUEST_TIMEOUT_MS,
    connectionsCheckingInterval: timeouts.checkMs ?? TIMEOUT_CHECK_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    // Node's own answer to a missing Host has no body: `requireHost` gives ours.
    requireHostHeader: false,
    noDelay: true,
  });
  server.timeout = IDLE_SOCKET_MS;
  server.maxConnections = MAX_CONNECTIONS;
  server.on('request', handler);
  server.on('checkContinue', handler);
  server.on('checkExpectation', handler);
  server.on('clientError', (err: ParseError, socket) => answerClientError(err, socket, raw));
  server.on('connect', (_req: IncomingMessage, socket: Duplex) => {
    writeRawProblem(
      socket,
      gatewayError('method-not-allowed', 'CONNECT is not served', {
        field: 'method',
        fix: 'use GET, POST or DELETE',
        headers: { allow: 'GET, HEAD, POST, DELETE, OPTIONS' },
      }),
      raw,
    );
  });
  return server;
}

/** What every request on either port must have, checked before anything else. */
export function checkRequestLine(req: IncomingMessage): void {
  if (req.httpVersion === '1.1' && req.headers.host === undefined) {
    throw gatewayError('bad-header', 'an HTTP/1.1 request needs a Host header', {
      field: 'header:Host',
      fix: 'send Host with the name or address of the gateway',
    });
  }
  const expect = req.headers.expect;
  if (expect !== undefined && expect.toLowerCase() !== '100-continue') {
    throw gatewayError('expectation-failed', 'the only expectation that can be met is 100-continue', {
      field: 'header:Expect',
      fix: 'send Expect: 100-continue or leave the header out',
    });
  }
}

type ParseError = NodeJS.ErrnoException & { readonly reason?: string };

function answerClientError(err: ParseError, socket: Duplex, raw: RawAnswers): void {
  if (err.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  writeRawProblem(socket, toProblem(err), raw);
}

function toProblem(err: ParseError): ProblemError {
  switch (err.code) {
    case 'HPE_HEADER_OVERFLOW':
      return gatewayError(
        'headers-too-large',
        `the request line and headers are larger than ${MAX_HEADER_BYTES} bytes`,
        {
          field: 'headers',
          fix: `send at most ${MAX_HEADER_BYTES} bytes of path and headers`,
        },
      );
    case 'HPE_CHUNK_EXTENSIONS_OVERFLOW':
      return gatewayError('body-too-large', 'the chunk extensions are too large', {
        field: 'header:Transfer-Encoding',
        fix: 'send chunks without extensions',
      });
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return gatewayError('request-timeout', 'the request did not arrive in time', {
        field: 'request',
        fix: 'send the headers and the body without long pauses',
      });
    default:
      return gatewayError('bad-request', `the request could not be parsed: ${err.reason ?? 'not HTTP/1.1'}`, {
        field: 'request',
        fix: 'send a well-formed HTTP/1.1 request: one Content-Length or chunked coding, no control characters in headers',
      });
  }
}

function writeRawProblem(socket: Duplex, problem: ProblemError, { port, requestIds, accessLog }: RawAnswers): void {
  const requestId = requestIds();
  accessLog.info({ port, status: problem.status, code: problem.code, request: requestId }, 'refused before routing');
  const body = Buffer.from(JSON.stringify({ ...problem.toProblem(), instance: `urn:penstock:request:${requestId}` }));
  const head = [
    `HTTP/1.1 ${problem.status} ${problem.title}`,
    `content-type: ${PROBLEM_TYPE}`,
    `content-length: ${body.length}`,
    'connection: close',
    `x-request-id: ${requestId}`,
    ...Object.entries(problem.headers).map(([name, value]) => `${name}: ${value}`),
  ];
  socket.end(Buffer.concat([Buffer.from(`${head.join('\r\n')}\r\n\r\n`), body]));
}
