// SPDX-License-Identifier: Apache-2.0
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import type { Registry } from './metrics.ts';

export interface OpsOptions {
  readonly host: string;
  readonly port: number;
  readonly registry: Registry;
  /** Why the process is not ready, or undefined when it is. */
  readonly notReady: () => string | undefined;
  /** What /readyz says beside `ok` when it is: a promise that holds, a role. */
  readonly readyNote?: () => string | undefined;
  /** Why the process must be restarted, or undefined. */
  readonly notHealthy?: () => string | undefined;
}

export interface OpsServer {
  readonly port: number;
  close(): Promise<void>;
}

/** Health and metrics on a port of their own, so that neither is reachable where clients are. Not in any access log. */
export async function startOpsServer(options: OpsOptions): Promise<OpsServer> {
  const server = createServer((request, response) => {
    const answer = (status: number, body: string, type = 'text/plain; charset=utf-8'): void => {
      response.writeHead(status, { 'content-type': type }).end(body);
    };
    const probe = (why: string | undefined, note?: string): void =>
      answer(why === undefined ? 200 : 503, why ?? (note === undefined ? 'ok' : `ok: ${note}`));
    const path = (request.url ?? '/').split('?', 1)[0];
    if (request.method !== 'GET' && request.method !== 'HEAD') answer(405, 'only GET');
    else if (path === '/healthz') probe(options.notHealthy?.());
    else if (path === '/readyz') probe(options.notReady(), options.readyNote?.());
    else if (path === '/metrics') {
      options.registry.metrics().then(
        (text) => answer(200, text, options.registry.contentType),
        () => answer(500, 'metrics could not be collected'),
      );
    } else answer(404, 'known here: /healthz, /readyz, /metrics');
  });
  return { port: await listen(server, options.host, options.port), close: () => closeServer(server) };
}

/** Listens and answers the port that was really taken (port 0 = any free one). */
export async function listen(server: Server, host: string, port: number): Promise<number> {
  server.listen(port, host);
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

/** Stops accepting, ends idle connections at once and the rest after their answer. */
export async function closeServer(server: Server): Promise<void> {
  const closed = once(server, 'close');
  server.close();
  server.closeIdleConnections();
  await closed;
}
