// SPDX-License-Identifier: Apache-2.0
import { HttpConnection } from './http-connection.ts';

export interface LoadOptions<S> {
  readonly port: number;
  readonly connections: number;
  readonly seconds: number;
  /** What one connection needs to make its requests. */
  readonly prepare: (connection: HttpConnection) => S;
  /** One round: one request or more on a connection. Throws when an answer is not what it should be. */
  readonly round: (state: S, connection: HttpConnection) => Promise<void>;
}

export interface Load {
  readonly perSecond: number;
  /** Milliseconds of each round. */
  readonly took: readonly number[];
}

/** Rounds a second under closed-loop load: each connection begins its next round when the last one has ended. */
export async function measureLoad<S>({ port, connections, seconds, prepare, round }: LoadOptions<S>): Promise<Load> {
  const open = await Promise.all(Array.from({ length: connections }, () => HttpConnection.open(port)));
  const took: number[] = [];
  const began = performance.now();
  const end = began + seconds * 1000;
  try {
    await Promise.all(
      open.map(async (connection) => {
        const state = prepare(connection);
        for (let at = performance.now(); at < end;) {
          await round(state, connection);
          const now = performance.now();
          took.push(now - at);
          at = now;
        }
      }),
    );
    return { perSecond: took.length / ((performance.now() - began) / 1000), took };
  } finally {
    for (const connection of open) connection.close();
  }
}
