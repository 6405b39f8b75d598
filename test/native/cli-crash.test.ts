// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process';
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ROOT, createAccount } from './cli.ts';
import type { Account } from './cli.ts';

let account: Account;
beforeEach(() => {
  account = createAccount();
});
afterEach(() => account.remove());

/** More half steps than any scenario has. */
const MOST_STEPS = 60;
const ALLOCATE = ['allocate', 'job', '--limit', '0=1MiB'];
const childPath = join(import.meta.dirname, 'cli-crash.child.ts');

/** Kills a penstock-vram before its N-th half step; false when it got to its end. */
function killAt(scenario: string, step: number): boolean {
  const run = spawnSync(
    process.execPath,
    [childPath, account.stateDir, join(ROOT, 'dist/native/lib'), scenario, String(step)],
    { encoding: 'utf8' },
  );
  // Neither the end nor the signal: it failed, and its own words say why.
  expect(run.stdout === 'done' || run.signal === 'SIGKILL' ? '' : run.stderr).toBe('');
  return run.signal === 'SIGKILL';
}

const states = (): string[] =>
  (JSON.parse(account.vram(['sessions', '--json']).stdout) as { name: string; state: string }[]).map(
    ({ name, state }) => `${name} ${state}`,
  );
/** Names that a session may have after the sweep that every look makes. */
const leftovers = (): string[] =>
  readdirSync(join(account.stateDir, 'sessions')).filter((name) => name.startsWith('.'));

test.each([
  ['allocate', false, [[], ['job active']]],
  ['attach', true, [['job active']]],
  ['release', true, [['job active'], []]],
  ['close', true, [['job active'], []]],
  ['expire', true, [['job active'], ['job expired']]],
] as const)(
  'killed at any step of %s, what was before or what was asked for is there, and nothing else',
  (scenario, exists, allowed) => {
    const seen = new Set<string>();
    let step = 1;
    for (; step < MOST_STEPS; step += 1) {
      rmSync(account.stateDir, { recursive: true, force: true });
      expect(account.vram(exists ? ALLOCATE : ['sessions']).status).toBe(0);
      const killed = killAt(scenario, step);
      const found = states();
      seen.add(JSON.stringify(found));
      expect(
        allowed.map((names) => JSON.stringify(names)),
        `step ${step}`,
      ).toContain(JSON.stringify(found));
      expect(leftovers()).toEqual([]);
      // Whatever it was, the session can be had and used at once.
      expect(account.vram(['run', '--session', 'job', '--limit', '0=1MiB', '--', 'true']).status).toBe(0);
      if (!killed) break;
    }
    expect(step).toBeGreaterThan(2);
    expect(step).toBeLessThan(MOST_STEPS);
    // The steps lie on both sides of the moment at which it counts.
    expect(seen.size).toBe(allowed.length);
  },
);
