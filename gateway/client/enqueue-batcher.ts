// SPDX-License-Identifier: Apache-2.0
import { queueUnavailable } from '../errors.ts';
import { ENQUEUE_BATCH_MAX } from '../limits.ts';
import type { EnqueueOutcome, LeaseQueue, NewRequest } from '../queue/lease-queue.ts';
import type { QueueLatency } from './overload/queue-latency.ts';

interface Pending {
  readonly request: NewRequest;
  readonly resolve: (outcome: EnqueueOutcome) => void;
  readonly reject: (err: unknown) => void;
}

/**
 * One call of the queue, and so one write to disk, for all requests of an app that arrived in one turn of the event loop.
 * Nobody waits for company: a lone request goes out in the same turn.
 */
export function createEnqueueBatcher(
  queue: Pick<LeaseQueue, 'enqueue'>,
  latency: Pick<QueueLatency, 'timed'>,
): (request: NewRequest) => Promise<EnqueueOutcome> {
  const waiting = new Map<string, Pending[]>();
  let scheduled = false;

  const send = async (batch: readonly Pending[]): Promise<void> => {
    try {
      const outcomes = await latency.timed(() => queue.enqueue(batch.map(({ request }) => request)));
      batch.forEach(({ resolve, reject }, i) => {
        const outcome = outcomes[i];
        if (outcome === undefined) reject(queueUnavailable(new Error('the queue answered too few outcomes')));
        else resolve(outcome);
      });
    } catch (err) {
      const problem = queueUnavailable(err);
      for (const { reject } of batch) reject(problem);
    }
  };

  const flush = (): void => {
    scheduled = false;
    for (const pending of waiting.values()) {
      for (let i = 0; i < pending.length; i += ENQUEUE_BATCH_MAX) void send(pending.slice(i, i + ENQUEUE_BATCH_MAX));
    }
    waiting.clear();
  };

  return (request) =>
    new Promise((resolve, reject) => {
      const pending = waiting.get(request.app);
      if (pending === undefined) waiting.set(request.app, [{ request, resolve, reject }]);
      else pending.push({ request, resolve, reject });
      if (scheduled) return;
      scheduled = true;
      setImmediate(flush);
    });
}
