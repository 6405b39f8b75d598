// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';

/** Sees what passes on one connection; false = this does not arrive, and nobody is told. */
export type Watch = (chunk: Buffer, from: 'client' | 'server') => boolean;

export interface TcpProxy {
  readonly port: number;
  /** Connections accepted so far. */
  accepted(): number;
  /** Open now. */
  open(): number;
  /** New connections lead to this port; those made before stay. */
  point(port: number): void;
  /** From now on nothing passes on the connections that are open (and on new ones, until `heal`), and nobody is told. */
  blackHole(options?: { readonly newOnesToo: boolean }): void;
  /** Resets the open connections and refuses new ones by resetting them, until `heal`. */
  cut(): void;
  heal(): void;
  close(): Promise<void>;
}

/**
 * A network between clients and 127.0.0.1:`target` that can fail the way networks do.
 * @param watched called for each new connection
 */
export async function startTcpProxy(target: number, watched: () => Watch = () => () => true): Promise<TcpProxy> {
  const pairs = new Set<readonly [Socket, Socket]>();
  let port = target;
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
    const upstream = connect(port, '127.0.0.1');
    const pair = [client, upstream] as const;
    pairs.add(pair);
    const passes = watched();
    for (const [from, to] of [pair, [upstream, client] as const]) {
      const name = from === client ? 'client' : 'server';
      if (swallowing) from.resume();
      else
        from.on('data', (chunk: Buffer) => {
          if (passes(chunk, name)) to.write(chunk);
        });
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
    point: (next) => {
      port = next;
    },
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
