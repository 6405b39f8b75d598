// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process';
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { systemClock } from '#base/clock.ts';
import { sweep } from '#native/cli/sessions/lifecycle.ts';
import { readObjects } from '#native/cli/sessions/objects.ts';
import { openLocked } from '#native/cli/sessions/open-session.ts';
import { CRASH_REQUEST, ROOT, contextOf, createAccount, storeOf } from './cli.ts';
import type { Account } from './cli.ts';

let account: Account;
beforeEach(() => {
  account = createAccount();
});
afterEach(() => account.remove());

/** More half steps than any scenario has. */
const MOST_STEPS = 60;
const childPath = join(import.meta.dirname, 'cli-crash.child.ts');
const libDir = join(ROOT, 'dist/native/lib');

/** Kills a penstock-vram before its N-th half step; false when it got to its end. */
function killAt(scenario: string, step: number): boolean {
  const run = spawnSync(process.execPath, [childPath, account.stateDir, libDir, scenario, String(step)], {
    encoding: 'utf8',
  });
  // Neither the end nor the signal: it failed, and its own words say why.
  expect(run.stdout === 'done' || run.signal === 'SIGKILL' ? '' : run.stderr).toBe('');
  return run.signal === 'SIGKILL';
}

/** The same session, by whoever comes next. */
function allocate(): string {
  return openLocked(storeOf(account), contextOf(), CRASH_REQUEST, readObjects(libDir)).session.control.state;
}

function look(): string[] {
  const store = storeOf(account);
  store.locked(() => sweep(store, systemClock));
  return store.names().map((name) => `${name} ${store.open(name).control.state}`);
}

/** What a look leaves that is no session. */
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
      if (exists) allocate();
      const killed = killAt(scenario, step);
      const found = JSON.stringify(look());
      seen.add(found);
      expect(allowed.map((names) => JSON.stringify(names))).toContain(found);
      expect(leftovers()).toEqual([]);
      // Whatever it was, the session can be had at once.
      expect(allocate()).toBe('active');
      if (!killed) break;
    }
    expect(step).toBeGreaterThan(2);
    expect(step).toBeLessThan(MOST_STEPS);
    // The steps lie on both sides of the moment at which it counts.
    expect(seen.size).toBe(allowed.length);
  },
);
