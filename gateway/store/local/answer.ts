// SPDX-License-Identifier: Apache-2.0
import type { IncomingMessage, ServerResponse } from 'node:http';
import { PROBLEM_TYPE } from '#base/problem.ts';
import type { ProblemError } from '#base/problem.ts';

/** How much of a refused upload is read away, and for how long, before the connection ends. */
const LINGER_BYTES = 4 * 1024 * 1024;
const LINGER_MS = 2000;

/**
 * Answers with problem+json. While an upload is still coming, the answer is written first and the rest of the body is read away for a
 * moment: closing at once would reset the connection, and the client would never see why.
 */
export async function answerProblem(
  request: IncomingMessage,
  response: ServerResponse,
  error: ProblemError,
): Promise<void> {
  if (response.headersSent || response.destroyed) {
    response.destroy();
    return;
  }
  const body = Buffer.from(JSON.stringify(error.toProblem()));
  const pending = !request.complete;
  response.writeHead(error.status, {
    'content-type': PROBLEM_TYPE,
    'content-length': body.length,
    'cache-control': 'no-store',
    ...error.headers,
    ...(pending && { connection: 'close' }),
  });
  if (pending) {
    if (request.method !== 'HEAD') response.write(body);
    await readAway(request);
    response.end();
  } else response.end(request.method === 'HEAD' ? undefined : body);
}

async function readAway(request: IncomingMessage): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const limit = setTimeout(resolve, LINGER_MS);
  let bytes = 0;
  const count = (chunk: Buffer): void => {
    bytes += chunk.length;
    if (bytes > LINGER_BYTES) resolve();
  };
  request
    .on('data', count)
    .once('end', resolve)
    .once('close', resolve)
    .once('error', () => resolve());
  await promise;
  clearTimeout(limit);
  request.off('data', count);
}
