// SPDX-License-Identifier: Apache-2.0
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import { constants } from 'node:http2';
import type { IncomingHttpHeaders as Http2Headers, OutgoingHttpHeaders, ServerHttp2Stream } from 'node:http2';
import type { Readable } from 'node:stream';
import type { Connection } from './connections.ts';
import { LINGER_MS } from './limits.ts';

export interface AnswerOptions {
  /** The body of the call was not read to its end, and will not be. */
  readonly unread?: boolean;
  readonly headers?: Readonly<Record<string, string>>;
}

/** One HTTP call, the same whatever version of HTTP it came by. */
export interface Call {
  readonly method: string;
  /** Path and query. */
  readonly url: string;
  readonly headers: IncomingHttpHeaders | Http2Headers;
  readonly body: Readable;
  readonly connection: Connection;
  /** Tells when it has ended; after its answer that is no news. */
  onGone(listener: () => void): void;
  /** Once. */
  answer(status: number, body: Buffer, options?: AnswerOptions): void;
  /** Ends it, whether or not its answer has arrived. */
  cut(): void;
}

/** @param closing whether connections are to be given up after their next answer */
export function http1Call(
  req: IncomingMessage,
  res: ServerResponse,
  connection: Connection,
  closing: () => boolean,
): Call {
  return {
    connection,
    cut: () => void res.destroy(),
    method: req.method ?? '',
    url: req.url ?? '',
    headers: req.headers,
    body: req,
    onGone: (listener) => void res.once('close', listener),
    answer: (status, body, { unread = false, headers = {} } = {}) => {
      const close = unread || closing() ? { connection: 'close' } : {};
      res.writeHead(status, {
        'content-type': 'application/json',
        'content-length': body.length,
        ...headers,
        ...close,
      });
      if (!unread) {
        res.end(body);
        return;
      }
      // A connection that is closed with bytes nobody has read is reset, and the client may never see the answer that is out already.
      res.write(body);
      const timer = setTimeout(() => res.end(), LINGER_MS).unref();
      req.once('close', () => {
        clearTimeout(timer);
        res.end();
      });
      req.resume();
    },
  };
}

export function http2Call(stream: ServerHttp2Stream, headers: Http2Headers, connection: Connection): Call {
  return {
    connection,
    cut: () => stream.close(constants.NGHTTP2_CANCEL),
    method: headers[':method'] ?? '',
    url: headers[':path'] ?? '',
    headers,
    body: stream,
    onGone: (listener) => void stream.once('close', listener),
    answer: (status, body, { unread = false, headers: more } = {}) => {
      // The client may have reset it meanwhile.
      if (stream.destroyed || stream.closed) return;
      const head: OutgoingHttpHeaders = {
        ':status': status,
        'content-type': 'application/json',
        'content-length': body.length,
      };
      stream.respond(more === undefined ? head : { ...head, ...more });
      stream.end(body);
      // RFC 9113 §8.1: the answer is complete, the rest of the body need not be sent.
      if (unread) stream.once('finish', () => stream.close(constants.NGHTTP2_NO_ERROR));
    },
  };
}
