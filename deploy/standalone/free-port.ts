// SPDX-License-Identifier: Apache-2.0
import { createServer } from 'node:http';
import { closeServer, listen } from '#base/ops-server.ts';

/** A port that was free a moment ago; URLs that carry it are needed before the server that will listen on it. */
export async function freeLoopbackPort(): Promise<number> {
  const server = createServer();
  const port = await listen(server, '127.0.0.1', 0);
  await closeServer(server);
  return port;
}
