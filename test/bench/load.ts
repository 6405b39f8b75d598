// SPDX-License-Identifier: Apache-2.0
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { once } from 'node:events';

export interface LoadOptions {
  readonly port: number;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly connections: number;
  readonly seconds: number;
  /** The body of request number n. */
  readonly body: (n: number) => string;
  /** What a good answer's status line has. */
  readonly status: number;
}

/**
 * Answers a second of a server under closed-loop load: each connection sends its next request when it has the answer to the last one.
 * Speaks just enough HTTP/1.1 over plain sockets that the generator takes little of the two cores.
 * @throws Error at the first answer with another status
 */
export async function measureRate(options: LoadOptions): Promise<number> {
  let sent = 0;
  let answered = 0;
  const end = performance.now() + options.seconds * 1000;
  const began = performance.now();
  const next = (): Buffer | undefined => (performance.now() < end ? requestBytes(options, sent++) : undefined);
  await Promise.all(
    Array.from({ length: options.connections }, () => runConnection(options, next, () => void answered++)),
  );
  return answered / ((performance.now() - began) / 1000);
}

function requestBytes({ path, headers, body }: LoadOptions, n: number): Buffer {
  const text = body(n);
  const lines = Object.entries({ host: 'bench', 'content-length': String(Buffer.byteLength(text)), ...headers });
  return Buffer.from(`POST ${path} HTTP/1.1\r\n${lines.map(([k, v]) => `${k}: ${v}`).join('\r\n')}\r\n\r\n${text}`);
}

async function runConnection(
  { port, status }: LoadOptions,
  next: () => Buffer | undefined,
  answered: () => void,
): Promise<void> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  await once(socket, 'connect');
  try {
    for (let request = next(); request; request = next()) {
      socket.write(request);
      const answer = await readAnswer(socket);
      if (!answer.startsWith(`HTTP/1.1 ${status}`)) throw new Error(`expected ${status}, got ${answer.slice(0, 500)}`);
      answered();
    }
  } finally {
    socket.destroy();
  }
}

/** One whole answer with a Content-Length. */
function readAnswer(socket: Socket): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const done = (err?: Error): void => {
      socket.off('data', onData).off('error', done).off('close', onClose);
      if (err) reject(err);
      else resolve(text);
    };
    const onClose = (): void => done(new Error(`the server closed the connection after ${JSON.stringify(text)}`));
    const onData = (chunk: Buffer): void => {
      text += chunk.toString('latin1');
      const head = text.indexOf('\r\n\r\n');
      if (head < 0) return;
      const length = /\r\ncontent-length: (\d+)/i.exec(text)?.[1];
      if (length === undefined) done(new Error(`an answer without Content-Length: ${text.slice(0, 500)}`));
      else if (text.length >= head + 4 + Number(length)) done();
    };
    socket.on('data', onData).once('error', done).once('close', onClose);
  });
}
