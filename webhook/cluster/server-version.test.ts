// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { createFakeClock } from '#base/fake-clock.ts';
import { silentLogger } from '#base/logger.ts';
import { createServerVersion } from './server-version.ts';

const MINUTES = 60_000;

/** A cluster whose API servers answer one after another; an Error is thrown. */
function aWorld(answers: (string | Error)[]) {
  const clock = createFakeClock();
  let looks = 0;
  const call = async (): Promise<unknown> => {
    const answer = answers[Math.min(looks++, answers.length - 1)];
    if (answer instanceof Error) throw answer;
    return { major: '1', minor: answer };
  };
  const version = createServerVersion({ client: { call }, clock, logger: silentLogger });
  version.start();
  return { clock, version, looks: () => looks, minor: () => version.current()?.minor };
}

describe('the version of the API servers', () => {
  test('is known from the first answer on and looked at again every five minutes', async () => {
    const { clock, version, looks, minor } = aWorld(['36']);
    expect(minor()).toBeUndefined();
    await version.looked();
    expect(minor()).toBe(36);
    await clock.advance(15 * MINUTES);
    expect(looks()).toBe(4);
    await version.stop();
  });

  test('rises only when a newer one has answered three times in a row, and falls at once', async () => {
    const { clock, version, minor } = aWorld(['34', '35', '34', '35', '35', '35', '34']);
    await version.looked();
    const seen: (number | undefined)[] = [];
    for (let i = 0; i < 6; i++) {
      await clock.advance(5 * MINUTES);
      seen.push(minor());
    }
    expect(seen).toEqual([34, 34, 34, 34, 35, 34]);
    await version.stop();
  });

  test('a failed look is no obstacle to the start, and soon tried again', async () => {
    const { clock, version, minor } = aWorld([new Error('refused'), new Error('refused'), '36']);
    await version.looked();
    expect(minor()).toBeUndefined();
    await clock.advance(20_000);
    expect(minor()).toBe(36);
    await version.stop();
  });

  test('what is no version changes nothing', async () => {
    const { clock, version, minor } = aWorld(['36', 'x']);
    await version.looked();
    await clock.advance(5 * MINUTES);
    expect(minor()).toBe(36);
    await version.stop();
  });
});
