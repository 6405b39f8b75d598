// SPDX-License-Identifier: Apache-2.0
import type { ServerResponse } from 'node:http';
import { WAKE_HEARTBEAT_MS } from '#base/wire/demand.ts';
import { gatewayError } from '../errors.ts';
import type { Exchange } from '../http/exchange.ts';
import { MAX_WAKE_STREAMS, STREAM_BACKLOG_BYTES, WAKE_COALESCE_MS } from '../limits.ts';
import type { LeaseQueue } from '../queue/lease-queue.ts';

/** GET demand/stream: text/event-stream, `wake` with the uid of an app in which something became ready. */
export interface WakeStreams {
  /** Takes over the exchange until the reader leaves. @throws ProblemError 503 when there are too many readers */
  open(x: Exchange): void;
  stop(): void;
}

export function createWakeStreams(queue: Pick<LeaseQueue, 'subscribe'>): WakeStreams {
  const readers = new Set<ServerResponse>();
  const due = new Set<string>();
  let timer: NodeJS.Timeout | undefined;

  const send = (text: string): void => {
    for (const reader of readers) {
      // Whoever reads too slowly would hold memory for old news; a new stream starts with a fresh demand anyway.
      if (reader.writableLength > STREAM_BACKLOG_BYTES) reader.destroy();
      else reader.write(text);
    }
  };
  const flush = (): void => {
    timer = undefined;
    send([...due].map((app) => `event: wake\ndata: ${JSON.stringify({ app })}\n\n`).join(''));
    due.clear();
  };
  const unsubscribe = queue.subscribe((event) => {
    if (event.type !== 'ready' || readers.size === 0) return;
    due.add(event.app);
    timer ??= setTimeout(flush, WAKE_COALESCE_MS);
  });
  const heartbeat = setInterval(() => send(': alive\n\n'), WAKE_HEARTBEAT_MS).unref();

  return {
    open: ({ res, requestId }) => {
      if (readers.size >= MAX_WAKE_STREAMS) {
        throw gatewayError('not-ready', `there are ${readers.size} readers of this stream already`, {
          fix: 'close one of them',
          headers: { 'retry-after': '10' },
        });
      }
      res.writeHead(200, {
        'content-type': 'text/event-stream',
        'cache-control': 'no-store',
        'x-request-id': requestId,
      });
      res.write(': open\n\n');
      readers.add(res);
      res.once('close', () => readers.delete(res));
    },
    stop: () => {
      unsubscribe();
      clearInterval(heartbeat);
      clearTimeout(timer);
      for (const reader of readers) reader.end();
    },
  };
}
