// SPDX-License-Identifier: Apache-2.0
import { startTcpProxy } from '#test/tcp-proxy.ts';

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
  let deaf = false;
  let swallowed = 0;
  const proxy = await startTcpProxy(port, () => {
    let subscriber = false;
    return (chunk, from) => {
      if (from === 'client') {
        subscriber ||= /\bs?subscribe\b/i.test(chunk.toString('latin1'));
        return true;
      }
      if (!subscriber || !deaf) return true;
      swallowed += 1;
      return false;
    };
  });
  return {
    url: `redis://127.0.0.1:${proxy.port}`,
    swallowed: () => swallowed,
    deafen: (now) => {
      deaf = now;
    },
    close: () => proxy.close(),
  };
}
