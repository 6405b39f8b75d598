// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';

export interface DeafProxy {
  readonly url: string;
  /** Messages to subscribers that were swallowed. */
  swallowed(): number;
  /** While true, nothing that Redis publishes arrives, and nobody is told. */
  deafen(deaf: boolean): void;
  close(): Promise<void>;
}

/** A way to Redis on which published messages can get lost: at most once is all that pub/sub promises. */
export async function startDeafProxy(port: number): Promise<DeafProxy> {
  const sockets = new Set<Socket>();
  let deaf = false;
  let swallowed = 0;
  const server = createServer((client) => {
    const redis = connect(port, '127.0.0.1');
    let subscriber = false;
    client.on('data', (chunk) => {
      subscriber ||= /\bs?subscribe\b/i.test(chunk.toString('latin1'));
      redis.write(chunk);
    });
    redis.on('data', (chunk) => {
      if (subscriber && deaf) swallowed += 1;
      else client.write(chunk);
    });
    for (const [socket, other] of [[client, redis] as const, [redis, client] as const]) {
      sockets.add(socket);
      socket.on('error', () => other.destroy());
      socket.on('close', () => {
        sockets.delete(socket);
        other.destroy();
      });
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `redis://127.0.0.1:${(server.address() as AddressInfo).port}`,
    swallowed: () => swallowed,
    deafen: (now) => {
      deaf = now;
    },
    close: async () => {
      const closed = once(server, 'close');
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
