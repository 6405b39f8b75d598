// SPDX-License-Identifier: Apache-2.0
import { expect, it } from 'vitest';
import { createFakeClock } from '#base/fake-clock.ts';
import { silentLogger } from '#base/logger.ts';
import { seededRandom } from '#base/random.ts';
import type { AppDemandWire } from '#base/wire/demand.ts';
import { aDemand } from '../decide/testing.ts';
import { createDemandBoard } from './demand-board.ts';

it('a look that joins a request from before it wanted to know asks once more', async () => {
  const clock = createFakeClock();
  const answers: ((apps: readonly AppDemandWire[]) => void)[] = [];
  const board = createDemandBoard({
    clock,
    random: seededRandom(1),
    logger: silentLogger,
    onChange: () => {},
    client: {
      demand: () => new Promise((resolve) => void answers.push(resolve)),
      wakeUps: async () => {},
    },
  });
  const first = board.look('uid-1', 0);
  await clock.advance(20);
  const second = board.look('uid-1', 10);
  answers[0]?.([aDemand({ queued: 1 })]);
  expect((await first).demand?.queued).toBe(1);
  await clock.advance(0);
  expect(answers).toHaveLength(2);
  answers[1]?.([aDemand({ queued: 0 })]);
  expect((await second).demand?.queued).toBe(0);
});
