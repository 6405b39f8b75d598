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
  return new Http1Call(req, res, connection, closing);
}

export function http2Call(stream: ServerHttp2Stream, headers: Http2Headers, connection: Connection): Call {
  return new Http2Call(stream, headers, connection);
}

/** No listener of ours has anything to say to it, and none may be missing: an error that nobody hears is the end of the process. */
export function ignoreError(): void {}

class Http1Call implements Call {
  readonly connection: Connection;
  readonly body: IncomingMessage;
  readonly #res: ServerResponse;
  readonly #closing: () => boolean;

  constructor(req: IncomingMessage, res: ServerResponse, connection: Connection, closing: () => boolean) {
    this.connection = connection;
    this.body = req;
    this.#res = res;
    this.#closing = closing;
  }

  get method(): string {
    return this.body.method ?? '';
  }

  get url(): string {
    return this.body.url ?? '';
  }

  get headers(): IncomingHttpHeaders {
    return this.body.headers;
  }

  onGone(listener: () => void): void {
    this.#res.once('close', listener);
  }

  answer(status: number, body: Buffer, { unread = false, headers = {} }: AnswerOptions = {}): void {
    const res = this.#res;
    const close = unread || this.#closing() ? { connection: 'close' } : {};
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
    this.body.once('close', () => {
      clearTimeout(timer);
      res.end();
    });
    this.body.resume();
  }

  cut(): void {
    this.#res.destroy();
  }
}

/**
 * With methods, and not an object of closures: V8 puts a closure that is written into a property among the old objects at once, where it and
 * all that it has seen (the stream, the headers) wait for a whole collection, a few kilobytes for each call.
 */
class Http2Call implements Call {
  readonly connection: Connection;
  readonly headers: Http2Headers;
  readonly body: ServerHttp2Stream;

  constructor(stream: ServerHttp2Stream, headers: Http2Headers, connection: Connection) {
    this.connection = connection;
    this.headers = headers;
    this.body = stream;
  }

  get method(): string {
    return this.headers[':method'] ?? '';
  }

  get url(): string {
    return this.headers[':path'] ?? '';
  }

  onGone(listener: () => void): void {
    this.body.once('close', listener);
  }

  answer(status: number, body: Buffer, { unread = false, headers }: AnswerOptions = {}): void {
    const stream = this.body;
    // The client may have reset it meanwhile.
    if (stream.destroyed || stream.closed) return;
    const head: OutgoingHttpHeaders = {
      ':status': status,
      'content-type': 'application/json',
      'content-length': body.length,
    };
    stream.respond(headers === undefined ? head : { ...head, ...headers });
    stream.end(body);
    // RFC 9113 §8.1: the answer is complete, the rest of the body need not be sent.
    if (unread) stream.once('finish', () => stream.close(constants.NGHTTP2_NO_ERROR));
  }

  cut(): void {
    this.body.close(constants.NGHTTP2_CANCEL);
  }
}
