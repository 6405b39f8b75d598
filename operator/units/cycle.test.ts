// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { REASONS } from '#crds/names.ts';
import { NOW, anApp } from '../decide/testing.ts';
import { EMPTY_MEMORY } from '../decide/types.ts';
import type { UnitAction } from '../decide/types.ts';
import { executeActions, rememberResults, throwFailed } from './cycle.ts';
import type { ActionDeps, ActionResult } from './cycle.ts';

const app = anApp();
const create: UnitAction = {
  type: 'create',
  plan: { unit: 'new', app, appUid: 'uid-1', revision: 'rev', placement: 'pool' },
};
const retire: UnitAction = { type: 'retire', unit: 'late', reason: REASONS.unitNotReady, message: 'late' };
const dismiss: UnitAction = { type: 'dismiss', unit: 'dead' };
const remove: UnitAction = { type: 'remove', unit: 'done' };

function aDriver(
  fails: readonly string[] = [],
  verdict: 'retired' | 'busy' = 'retired',
): ActionDeps & { calls: string[] } {
  const calls: string[] = [];
  const note = async (call: string): Promise<void> => {
    calls.push(call);
    if (fails.includes(call)) throw new Error(`${call} failed`);
  };
  return {
    calls,
    driver: {
      observe: async () => [],
      create: (plan) => note(`create ${plan.unit}`),
      markRetired: (namespace, unit, reason) => note(`mark ${namespace}/${unit} ${reason}`),
      remove: (namespace, unit) => note(`remove ${namespace}/${unit}`),
      onChange: () => () => {},
    },
    retire: async (uid, unit) => {
      await note(`retire ${uid} ${unit}`);
      return verdict;
    },
  };
}

const outcomes = (results: readonly ActionResult[]): string[] => results.map(({ outcome }) => outcome);

describe('executeActions', () => {
  it('asks the gateway to retire a unit before it marks it', async () => {
    const deps = aDriver();
    await executeActions(deps, app, [retire]);
    expect(deps.calls).toEqual(['retire uid-1 late', 'mark team/late UnitNotReady']);
  });

  it('does not mark a unit that the gateway says is busy', async () => {
    const deps = aDriver([], 'busy');
    expect(outcomes(await executeActions(deps, app, [retire]))).toEqual(['busy']);
    expect(deps.calls).toEqual(['retire uid-1 late']);
  });

  it('does not mark a unit when the gateway did not answer', async () => {
    const deps = aDriver(['retire uid-1 late']);
    expect(outcomes(await executeActions(deps, app, [retire]))).toEqual(['failed']);
    expect(deps.calls).toEqual(['retire uid-1 late']);
  });

  it('dismisses a unit by the queue alone: there may be no Job to mark', async () => {
    const deps = aDriver();
    expect(outcomes(await executeActions(deps, app, [dismiss]))).toEqual(['done']);
    expect(deps.calls).toEqual(['retire uid-1 dead']);
    expect(outcomes(await executeActions(aDriver([], 'busy'), app, [dismiss]))).toEqual(['busy']);
  });

  it('goes on with the others when one action fails', async () => {
    const deps = aDriver(['create new']);
    expect(outcomes(await executeActions(deps, app, [create, remove]))).toEqual(['failed', 'done']);
    expect(deps.calls).toContain('remove team/done');
  });

  it('does nothing once another replica acts', async () => {
    const deps = { ...aDriver(), mayAct: () => false };
    const results = await executeActions(deps, app, [create, retire, remove]);
    expect(outcomes(results)).toEqual(['failed', 'failed', 'failed']);
    expect(deps.calls).toEqual([]);
  });
});

describe('rememberResults', () => {
  it('starts the cooldown only when a unit was really made', () => {
    expect(rememberResults(EMPTY_MEMORY, [{ action: create, outcome: 'done' }], NOW).lastScaleUpAt).toBe(NOW);
    expect(rememberResults(EMPTY_MEMORY, [{ action: remove, outcome: 'done' }], NOW)).toEqual(EMPTY_MEMORY);
    const refused = rememberResults(
      EMPTY_MEMORY,
      [{ action: create, outcome: 'failed', error: new Error('quota') }],
      NOW,
    );
    expect(refused).toEqual({
      failures: 1,
      lastFailureAt: NOW,
      lastFailure: "a unit can't be made: quota",
      counted: [],
    });
  });

  it('counts several refused creations of one decision as one', () => {
    const refused = { action: create, outcome: 'failed', error: new Error('quota') } as const;
    expect(rememberResults(EMPTY_MEMORY, [refused, refused], NOW).failures).toBe(1);
  });
});

describe('throwFailed', () => {
  it('throws when something failed, and only then', () => {
    expect(() => throwFailed([{ action: remove, outcome: 'done' }])).not.toThrow();
    const failed: ActionResult = { action: remove, outcome: 'failed', error: new Error('no') };
    expect(() => throwFailed([failed, failed])).toThrow('2 of 2 unit actions failed: no');
  });
});
