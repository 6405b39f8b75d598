// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events';
import { connect } from 'node:net';
import type { Socket } from 'node:net';

const END_OF_HEAD = Buffer.from('\r\n\r\n');
const CONTENT_LENGTH = Buffer.from('content-length: ');
const CR = 0x0d;
const ZERO = 0x30;

/** One whole answer: status, head and body in one buffer. */
export class HttpAnswer {
  readonly status: number;
  readonly #bytes: Buffer;
  readonly #bodyAt: number;

  constructor(bytes: Buffer, bodyAt: number) {
    this.#bytes = bytes;
    this.#bodyAt = bodyAt;
    this.status = digit(bytes, 9) * 100 + digit(bytes, 10) * 10 + digit(bytes, 11);
  }

  /** Of a header whose name the server writes in lower case. */
  header(name: string): string | undefined {
    const head = this.#bytes.toString('latin1', 0, this.#bodyAt);
    const at = head.indexOf(`\r\n${name}: `);
    return at < 0 ? undefined : head.slice(at + name.length + 4, head.indexOf('\r\n', at + 2));
  }

  text(): string {
    return this.#bytes.toString('utf8', this.#bodyAt);
  }

  describe(): string {
    return this.#bytes.toString('utf8', 0, 500);
  }
}

/**
 * Just enough of an HTTP/1.1 client over one kept connection, one request at a time, that a load generator takes little of the cores
 * which it shares with what it measures. Understands only answers with a Content-Length in lower case, as Node writes it.
 */
export class HttpConnection {
  readonly #socket: Socket;
  #parts: Buffer | undefined;
  #waiting: { resolve: (answer: HttpAnswer) => void; reject: (err: Error) => void } | undefined;

  static async open(port: number): Promise<HttpConnection> {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true });
    await once(socket, 'connect');
    return new HttpConnection(socket);
  }

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => this.#take(chunk));
    socket.on('error', (err) => this.#waiting?.reject(err));
    socket.on('close', () => this.#waiting?.reject(new Error('the server closed the connection')));
  }

  /** Sends a whole request, head and body, and answers what came back. The buffer may be used again after that. */
  exchange(request: Buffer): Promise<HttpAnswer> {
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      this.#socket.write(request);
    });
  }

  /** Whoever waits for an answer hears that there will be none. */
  close(): void {
    this.#socket.destroy();
  }

  #take(chunk: Buffer): void {
    const bytes = this.#parts === undefined ? chunk : Buffer.concat([this.#parts, chunk]);
    this.#parts = bytes;
    const headEnd = bytes.indexOf(END_OF_HEAD);
    if (headEnd < 0) return;
    const bodyAt = headEnd + END_OF_HEAD.length;
    const length = contentLength(bytes, bodyAt);
    if (length !== undefined && bytes.length < bodyAt + length) return;
    this.#parts = undefined;
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (length === undefined) waiting?.reject(new Error(`an answer without Content-Length: ${bytes.toString()}`));
    else waiting?.resolve(new HttpAnswer(bytes, bodyAt));
  }
}

export interface RequestParts {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** The bytes of a whole request. */
export function requestBytes({ method, path, headers, body }: RequestParts): Buffer {
  const length = body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) };
  const lines = Object.entries({ host: 'bench', ...length, ...headers }).map(([name, value]) => `${name}: ${value}`);
  return Buffer.from(`${method} ${path} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n${body ?? ''}`);
}

function contentLength(bytes: Buffer, bodyAt: number): number | undefined {
  const at = bytes.indexOf(CONTENT_LENGTH);
  if (at < 0 || at > bodyAt) return undefined;
  let length = 0;
  for (let i = at + CONTENT_LENGTH.length; bytes[i] !== CR; i++) length = length * 10 + digit(bytes, i);
  return length;
}

function digit(bytes: Buffer, at: number): number {
  return (bytes[at] ?? ZERO) - ZERO;
}
