// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { expect, inject, it } from 'vitest';
import { systemClock } from '#base/clock.ts';
import { silentLogger } from '#base/logger.ts';
import { seededRandom } from '#base/random.ts';
import type { LeaseQueue } from '#gateway/queue/lease-queue.ts';
import { openEmbeddedQueue, openRedisQueue } from '#gateway/queue/open.ts';
import { FairHistory, callsOf, queueSubject, referenceSubject } from './fair-history.ts';
import type { Action, Subject } from './fair-history.ts';

/** FAIR_SEED=n replays the history of a failure and prints it; FAIR_HISTORIES=n plays more of them. */
const REPLAY = process.env['FAIR_SEED'];
const HISTORIES = Number(process.env['FAIR_HISTORIES'] ?? 2_000);
/** Histories that share a pair of queues: few, as each sweep looks at all apps. */
const PER_QUEUE = 20;
/** So many at a time: Redis works for one while the others' answers are compared. */
const SIDE_BY_SIDE = 12;
const DEPS = { clock: systemClock, logger: silentLogger };

/** Plays one history on all subjects; the outcomes of each step must be equal. */
async function play(seed: number, subjects: readonly Subject[]): Promise<number> {
  const history = new FairHistory(seededRandom(seed));
  const [first, ...others] = subjects;
  let leases = 0;
  const step = async (action: Action, number: number): Promise<void> => {
    const wanted = await first!.play(action, history.now);
    if (REPLAY !== undefined) console.log(number, history.now, JSON.stringify(action), '→', JSON.stringify(wanted));
    history.note(action, wanted);
    for (const [one, its] of callsOf(action, wanted))
      if (one.do === 'lease') leases += (its as { ids: string[] }).ids.length;
    for (const other of others) {
      const got = await other.play(action, history.now);
      if (isDeepStrictEqual(got, wanted)) continue;
      expect(got, `FAIR_SEED=${seed}: ${other.name} at step ${number}, ${JSON.stringify(action)}`).toEqual(wanted);
    }
  };
  let number = 0;
  for (let action = history.next(); action !== undefined; action = history.next(), number++) {
    await step(action, number);
    if (number % 8 === 7) await step({ do: 'counts' }, number);
  }
  await step({ do: 'view', ids: history.ids }, number);
  return leases;
}

async function withQueues(test: (queues: Readonly<Record<string, LeaseQueue>>) => Promise<void>): Promise<void> {
  const embedded = openEmbeddedQueue({ ...DEPS, file: ':memory:' });
  const prefix = `test-${randomBytes(6).toString('hex')}`;
  const redis = await openRedisQueue({ ...DEPS, url: inject('servers').redis.url, prefix });
  try {
    await test({ embedded, redis });
  } finally {
    await Promise.all([embedded.close(), redis.close()]);
  }
}

/** Plays the seeds one after another on one pair of queues, each with an app of its own. Leases given. */
async function playAll(seeds: readonly number[]): Promise<number> {
  let leases = 0;
  await withQueues(async (queues) => {
    for (const seed of seeds) {
      const drivers = Object.entries(queues).map(([name, queue]) => queueSubject(name, queue, `app-${seed}`));
      leases += await play(seed, [referenceSubject(), ...drivers]);
    }
  });
  return leases;
}

it('the textbook reference and both drivers lease in the same order and give the same outcomes, history after history', async () => {
  const seeds = REPLAY === undefined ? Array.from({ length: HISTORIES }, (_, i) => i + 1) : [Number(REPLAY)];
  const chunks = Array.from({ length: Math.ceil(seeds.length / PER_QUEUE) }, (_, i) =>
    seeds.slice(i * PER_QUEUE, (i + 1) * PER_QUEUE),
  );
  let leases = 0;
  const player = async (): Promise<void> => {
    for (let chunk = chunks.shift(); chunk !== undefined; chunk = chunks.shift()) {
      const given = await playAll(chunk);
      leases += given;
    }
  };
  await Promise.all(Array.from({ length: SIDE_BY_SIDE }, player));
  // Histories that lease nothing would prove nothing.
  expect(leases).toBeGreaterThan(seeds.length * (REPLAY === undefined ? 5 : 0));
}, 1_200_000);
