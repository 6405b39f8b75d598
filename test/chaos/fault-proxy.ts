// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import type { Random } from '#base/random.ts';

/** What may happen to one chunk of bytes on its way. */
const FAULTS = ['lost', 'answer-lost', 'torn', 'late'] as const;
type Fault = (typeof FAULTS)[number];

/** Real milliseconds by which a chunk may be late: enough for others to overtake it. */
const LATE_MS = 6;

export interface FaultProxy {
  readonly port: number;
  /** Part of the chunks that meet a fault; 0 = a sound network. */
  readonly setRate: (rate: number) => void;
  /** Resets what is open now, or that part of it that leads to one port; new connections are fine. */
  readonly reset: (port?: number) => void;
  /** Whoever talks through here is gone: everything is cut, for ever. */
  readonly kill: () => void;
}

/**
 * A network in front of one port that fails as networks do: a connection breaks before the bytes arrive, after they arrived and before
 * the answer, or in the middle of the answer; bytes of one connection are late, so that those of another overtake them.
 */
export async function startFaultProxy(target: () => number | undefined, random: Random): Promise<FaultProxy> {
  const open = new Map<Socket, number>();
  let rate = 0;
  let dead = false;
  const draw = (answers: boolean): Fault | undefined => {
    if (rate === 0 || random.fraction() >= rate) return undefined;
    const fault = FAULTS[Math.floor(random.fraction() * FAULTS.length)] ?? 'late';
    // An answer has none of its own that could be lost; losing it is `lost`.
    return answers && fault === 'answer-lost' ? 'late' : fault;
  };
  const server = createServer({ noDelay: true }, (client) => {
    client.on('error', () => {});
    const port = target();
    if (dead || port === undefined) {
      client.resetAndDestroy();
      return;
    }
    const upstream = connect({ port, host: '127.0.0.1', noDelay: true });
    upstream.on('error', () => {});
    for (const [from, to] of [[client, upstream] as const, [upstream, client] as const]) {
      open.set(from, port);
      pass(from, to, () => draw(from === upstream));
      from.on('close', () => {
        open.delete(from);
        to.destroy();
      });
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const reset = (only?: number): void => {
    for (const [socket, leadsTo] of open) if (only === undefined || leadsTo === only) socket.destroy();
  };
  return {
    port: (server.address() as AddressInfo).port,
    setRate: (given) => {
      rate = given;
    },
    reset,
    kill: () => {
      dead = true;
      server.close();
      reset();
    },
  };
}

/** Bytes in order, each chunk by its own luck. */
function pass(from: Socket, to: Socket, draw: () => Fault | undefined): void {
  let before: Promise<void> | undefined;
  const forward = (chunk: Buffer, fault: Fault | undefined): void => {
    if (to.destroyed) return;
    if (fault === 'lost') return void from.destroy();
    to.write(fault === 'torn' ? chunk.subarray(0, chunk.length >> 1) : chunk);
    if (fault === 'torn') return void from.destroy();
    if (fault !== 'answer-lost') return;
    // What was written still arrives: the far side reads it, then sees the end. Its own end closes the rest.
    to.end();
    from.pause();
    setImmediate(() => from.resetAndDestroy());
  };
  from.on('data', (chunk: Buffer) => {
    const fault = draw();
    if (fault !== 'late' && before === undefined) return forward(chunk, fault);
    const wait = fault === 'late' ? LATE_MS * Math.random() : 0;
    const mine = (before ?? Promise.resolve())
      .then(() => new Promise<void>((resolve) => void setTimeout(resolve, wait)))
      .then(() => forward(chunk, fault === 'late' ? undefined : fault))
      .then(() => {
        if (before === mine) before = undefined;
      });
    before = mine;
  });
}
