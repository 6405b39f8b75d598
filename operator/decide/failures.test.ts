// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { seededRandom } from '#base/random.ts';
import type { UnitObservation } from '../units/unit-driver.ts';
import { decideUnits } from './decide.ts';
import { NOW, aUnit, anInput } from './testing.ts';
import { EMPTY_MEMORY } from './types.ts';
import type { AppMemory } from './types.ts';

describe('units that leave in order without ever asking for work', () => {
  test('are failed starts: a refused token or an image that exits does not make a Job every second', () => {
    let memory: AppMemory = EMPTY_MEMORY;
    let units: UnitObservation[] = [];
    let made = 0;
    for (let second = 0; second < 120; second += 2) {
      const now = NOW + second * 1000;
      const input = anInput({ demand: { queued: 1 }, units, memory });
      const decision = decideUnits({ ...input, now, random: seededRandom(second) });
      const removed = new Set(decision.actions.flatMap((action) => (action.type === 'remove' ? [action.unit] : [])));
      const created = decision.actions.flatMap((action) => (action.type === 'create' ? [action.plan.unit] : []));
      made += created.length;
      memory = created.length > 0 ? { ...decision.memory, lastScaleUpAt: now } : decision.memory;
      // Each has exited 0 by the next look, and the queue has never heard of it.
      const fresh = created.map((unit) => aUnit(unit, { createdAt: now, phase: 'Succeeded' }));
      units = [...units.filter(({ unit }) => !removed.has(unit)), ...fresh];
    }
    // One free, then waits of 5, 10, 20, 40, 80 s.
    expect(made).toBeLessThanOrEqual(7);
    expect(memory.lastFailure).toContain('without ever asking for work');
  });

  test('are none when the queue knows them: one that left when told to, or by SIGTERM while it was idle', () => {
    const unit = aUnit('a', { phase: 'Succeeded' });
    for (const sentAway of [['a'], []]) {
      expect(decideUnits(anInput({ units: [unit], seen: ['a'], sentAway })).memory.failures).toBe(0);
    }
  });

  test('are none when the operator retired them, or while the gateway is unknown', () => {
    const unit = aUnit('a', { phase: 'Succeeded' });
    expect(decideUnits(anInput({ units: [{ ...unit, retired: true }] })).memory.failures).toBe(0);
    expect(decideUnits(anInput({ units: [unit], gatewayProblem: 'away' })).memory.failures).toBe(0);
  });
});

describe('the replacement of a unit that was killed', () => {
  test('ends the row of failures though its creationTimestamp, in whole seconds, lies before the failure', () => {
    const killed = aUnit('a', { phase: 'Failed', createdAt: NOW - 60_000 });
    const first = decideUnits({
      ...anInput({ scaling: { minUnits: 1 }, units: [killed], seen: ['a'] }),
      now: NOW + 700,
    });
    expect(first.memory.failures).toBe(1);
    expect(first.actions.some((action) => action.type === 'create')).toBe(true);
    const up = { createdAt: NOW, scheduledAt: NOW, startedAt: NOW, phase: 'Running', ready: 1 } as const;
    const later = {
      ...anInput({ scaling: { minUnits: 1 }, units: [killed, aUnit('b', up)], seen: ['b'], memory: first.memory }),
    };
    expect(decideUnits({ ...later, now: NOW + 20_000 }).memory.failures).toBe(1);
    expect(decideUnits({ ...later, now: NOW + 31_000 }).memory.failures).toBe(0);
  });
});
