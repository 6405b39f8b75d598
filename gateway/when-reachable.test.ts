// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { createFakeClock } from '#base/fake-clock.ts';
import { createLogger } from '#base/logger.ts';
import { seededRandom } from '#base/random.ts';
import { QueueError } from './queue/errors.ts';
import { storeError } from './store/errors.ts';
import { REACHABLE_LIMIT_MS, whenReachable } from './when-reachable.ts';

const clock = createFakeClock();
const stop = new AbortController();
const patience = { clock, random: seededRandom(1), logger: createLogger('test', 'silent'), signal: stop.signal };

test.each([
  ['a queue', new QueueError('unavailable', 'connect ECONNREFUSED')],
  ['an object store', storeError('unavailable', 'connect ECONNREFUSED')],
])('%s that comes up later is opened then', async (_what, refused) => {
  let tries = 0;
  const opened = whenReachable(async () => {
    tries += 1;
    if (tries < 5) throw refused;
    return 'open';
  }, patience);
  await clock.advance(10_000);
  expect([await opened, tries, clock.sleepers()]).toEqual(['open', 5, 0]);
});

test('one that never comes up is given up after the limit, with its own error', async () => {
  const refused = new QueueError('unavailable', 'connect ECONNREFUSED');
  const opened = whenReachable(() => Promise.reject(refused), patience);
  const ended = opened.catch((err: unknown) => err);
  await clock.advance(REACHABLE_LIMIT_MS - 1);
  expect(clock.sleepers()).toBe(1);
  await clock.advance(3_000);
  expect(await ended).toBe(refused);
});

test('what waiting cannot mend is said at once', async () => {
  const layout = new QueueError('layout', 'layout penstock-queue/7');
  await expect(whenReachable(() => Promise.reject(layout), patience)).rejects.toBe(layout);
});

test('a process that is to end does not wait on', async () => {
  const gone = new AbortController();
  const refused = new QueueError('unavailable', 'connect ECONNREFUSED');
  const opened = whenReachable(() => Promise.reject(refused), { ...patience, signal: gone.signal });
  const ended = opened.catch((err: unknown) => err);
  await clock.advance(10);
  const reason = new Error('SIGTERM');
  gone.abort(reason);
  expect(await ended).toBe(reason);
});
