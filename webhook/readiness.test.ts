// SPDX-License-Identifier: Apache-2.0
import { expect, it } from 'vitest';
import { createFakeClock } from '#base/fake-clock.ts';
import { createReadiness } from './readiness.ts';
import type { ReadinessSources } from './readiness.ts';

const ready: ReadinessSources = {
  listening: () => true,
  stopping: () => false,
  certificate: () => undefined,
  synced: () => true,
  trouble: () => undefined,
};

it.each<readonly [string, Partial<ReadinessSources>, string | undefined]>([
  ['everything is there', {}, undefined],
  ['it is about to end', { stopping: () => true }, 'stopping'],
  ['it does not listen', { listening: () => false }, 'not listening yet'],
  ['nobody trusts its certificate', { certificate: () => 'no caBundle' }, 'no caBundle'],
  ['the nodes are not known', { synced: () => false }, 'what decisions rest on has not been read yet'],
  [
    'the nodes cannot be read',
    { synced: () => false, trouble: () => new Error('403') },
    'what decisions rest on has not been read yet: 403',
  ],
])('when %s', (_when, change, why) => {
  expect(createReadiness({ ...ready, ...change }, createFakeClock(), 1_000)()).toBe(why);
});

it('does not wait for ever for what cannot be read, but for a certificate it does', async () => {
  const clock = createFakeClock();
  const unsynced = createReadiness({ ...ready, synced: () => false }, clock, 1_000);
  const untrusted = createReadiness({ ...ready, certificate: () => 'no caBundle' }, clock, 1_000);
  await clock.advance(999);
  expect(unsynced()).toMatch(/not been read/);
  await clock.advance(1);
  expect(unsynced()).toBeUndefined();
  expect(untrusted()).toBe('no caBundle');
});
