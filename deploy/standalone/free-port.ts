// SPDX-License-Identifier: Apache-2.0
import { createServer } from 'node:http';
import { closeServer, listen } from '#base/ops-server.ts';
import type { Random } from '#base/random.ts';

/** Below Linux' ephemeral ports (32 768 and up): of those the kernel may give one to any outgoing connection before we listen on it. */
const FIRST_PORT = 20_000;
const PORTS = 12_000;
/** Ports tried; more than a few are taken only on a machine that serves nothing else. */
const TRIES = 50;

/**
 * A port that was free a moment ago; URLs that carry it are needed before the server that will listen on it.
 * @throws Error of the last try when none was free
 */
export async function freeLoopbackPort(random: Random): Promise<number> {
  for (let tried = 1; ; tried++) {
    const server = createServer();
    const wanted = FIRST_PORT + Math.floor(random.fraction() * PORTS);
    try {
      const port = await listen(server, '127.0.0.1', wanted);
      await closeServer(server);
      return port;
    } catch (err) {
      if (tried === TRIES) throw err;
    }
  }
}
