// SPDX-License-Identifier: Apache-2.0
import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { DRIVERS } from '#test/chaos/backend.ts';
import { hunt, sound } from '#test/chaos/mutations/hunt.ts';
import { MUTATIONS } from '#test/chaos/mutations/mutations.ts';

/** What `make chaos` runs in CI. Most bugs show within some ten schedules. */
const SCHEDULES = 2_000;
/** Nothing planted: as many as it takes to see that a finding is not the rule. `make chaos` runs the rest. */
const SOUND_SCHEDULES = 40;
/** Two thousand schedules on a busy machine. */
const LIMIT_MS = 15 * 60_000;
const PARALLEL = 6;

describe('make chaos', () => {
  it.each(DRIVERS)('finds nothing in the %s driver as it is', { timeout: LIMIT_MS }, async (driver) => {
    const { found, said } = await sound(driver, { schedules: SOUND_SCHEDULES, seed: 1, parallel: PARALLEL });
    expect({ found, said }).toEqual({ found: false, said: '' });
  });

  it.each(MUTATIONS)('finds the planted bug $name', { timeout: LIMIT_MS }, async (mutation) => {
    const { found, schedules, said } = await hunt(mutation, { schedules: SCHEDULES, seed: 1, parallel: PARALLEL });
    // A rule that is seen broken: a script that fails or a schedule that stands still is no finding.
    expect({ found, schedules, said }).toEqual({
      found: true,
      schedules: expect.any(Number),
      said: expect.stringMatching(/^(?!stuck:|broke:)./),
    });
  });

  it.each(MUTATIONS)('the text that $name replaces stands once in its file', async ({ file, from }) => {
    const text = await readFile(new URL(`../../${file}`, import.meta.url), 'utf8');
    expect(text.split(from)).toHaveLength(2);
  });

  it('has at least five planted bugs for each driver', () => {
    for (const driver of DRIVERS)
      expect(MUTATIONS.filter((one) => one.driver === driver).length).toBeGreaterThanOrEqual(5);
  });
});
