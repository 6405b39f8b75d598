// SPDX-License-Identifier: Apache-2.0
import { createServer, connect } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { once } from 'node:events';

export interface TcpProxy {
  readonly port: number;
  /** Connections accepted so far. */
  accepted(): number;
  /** Open now. */
  open(): number;
  /** From now on nothing passes on the connections that are open (and on new ones, until `heal`), and nobody is told. */
  blackHole(options?: { readonly newOnesToo: boolean }): void;
  /** Resets the open connections and refuses new ones by resetting them, until `heal`. */
  cut(): void;
  heal(): void;
  close(): Promise<void>;
}

/** A network between a client and 127.0.0.1:`target` that can fail the way networks do. */
export async function startTcpProxy(target: number): Promise<TcpProxy> {
  const pairs = new Set<readonly [Socket, Socket]>();
  let accepted = 0;
  let refusing = false;
  let swallowing = false;
  const server = createServer((client) => {
    accepted += 1;
    client.on('error', () => {});
    if (refusing) {
      client.resetAndDestroy();
      return;
    }
    const upstream = connect(target, '127.0.0.1');
    const pair = [client, upstream] as const;
    pairs.add(pair);
    for (const [from, to] of [pair, [upstream, client] as const]) {
      if (swallowing) from.resume();
      else from.on('data', (chunk) => to.write(chunk));
      from.on('error', () => to.destroy());
      from.on('close', () => {
        pairs.delete(pair);
        to.destroy();
      });
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    accepted: () => accepted,
    open: () => pairs.size,
    blackHole: (options) => {
      swallowing = options?.newOnesToo ?? false;
      for (const socket of [...pairs].flat()) socket.removeAllListeners('data').resume();
    },
    cut: () => {
      refusing = true;
      for (const socket of [...pairs].flat()) socket.resetAndDestroy();
    },
    heal: () => {
      refusing = false;
      swallowing = false;
    },
    close: async () => {
      const closed = once(server, 'close');
      server.close();
      for (const socket of [...pairs].flat()) socket.destroy();
      await closed;
    },
  };
}
