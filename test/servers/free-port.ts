// SPDX-License-Identifier: Apache-2.0
import { createServer } from 'node:net';

/**
 * Below the kernel's range for outgoing connections (32768 and up on Linux): a server that a test kills must find its
 * port free when it comes back, and a port given by `listen(0)` may have become somebody's outgoing one by then.
 */
const lowest = 15_000;
const count = 5_000; // `hack/kube/cluster` chooses from 20000 up
/**
 * Each process goes through a slice of its own, one port after another: two that choose at the same moment, or one that chooses twice
 * before it listens, must not come to the same port, as random choices did every few runs.
 */
const slice = 50;
const first = lowest + (process.pid % (count / slice)) * slice;
let next = 0;

/** A TCP port on which nothing listens on 127.0.0.1 at this moment. */
export async function freePort(): Promise<number> {
  for (let tried = 0; tried < slice; tried++) {
    const port = first + (next++ % slice);
    if (await isFree(port)) return port;
  }
  throw new Error(`no free port found between ${first} and ${first + slice}`);
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}
