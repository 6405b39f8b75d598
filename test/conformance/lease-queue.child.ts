// SPDX-License-Identifier: Apache-2.0
// A process that dies by kill -9: opens the embedded queue named by its first argument, enqueues without pause into the app named by the
// second, leases and completes every fourth, and prints each answer as soon as it has it.
import { writeSync } from 'node:fs';
import { systemClock } from '#base/clock.ts';
import { silentLogger } from '#base/logger.ts';
import { openEmbeddedQueue } from '#gateway/queue/open.ts';
import { id, nonce, text } from './lease-queue.harness.ts';

const [file = '', app = ''] = process.argv.slice(2);
const queue = openEmbeddedQueue({ file, clock: systemClock, logger: silentLogger });
const say = (word: string, which: string): void => {
  // Synchronous: what was said was answered before.
  writeSync(1, `${word} ${which}\n`);
};

async function client(): Promise<never> {
  for (let i = 0; ; i++) {
    const request = {
      id: id(),
      app,
      tenant: 'acme',
      lane: 'online',
      revision: 'r1',
      priority: 0,
      cost: 1,
      body: text(`body of ${i}`),
      dedupeKey: nonce(),
      retry: { maxAttempts: 1, maxLosses: 5 },
      retentionMs: 1e7,
    } as const;
    await queue.enqueue([request]);
    say('queued', request.id);
    if (i % 4 === 0) await work();
  }
}

async function work(): Promise<void> {
  const { leases } = await queue.lease({
    app,
    unit: 'u1',
    revision: 'r1',
    lanes: ['online'],
    max: 1,
    leaseMs: 60_000,
    nonces: [nonce()],
    currentRevision: 'r1',
    floor: 1,
    lingerMs: 0,
    desiredState: 'Ready',
  });
  for (const lease of leases) {
    say('leased', lease.id);
    await queue.complete(app, 'u1', [{ ...lease, result: text('out'), serviceMicros: 1 }]);
    say('succeeded', lease.id);
  }
}

await Promise.all([client(), client(), client()]);
