// SPDX-License-Identifier: Apache-2.0
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { UnitObservation, UnitPlan } from '../units/unit-driver.ts';
import { decideFinal } from './finalize.ts';
import { decideUnits } from './decide.ts';
import { sortUnits, unfinishedCount } from './fleet.ts';
import { NOW, aUnit, anInput } from './testing.ts';
import type { DecideInput, UnitAction } from './types.ts';

const RUNS = 400;
const HOUR = 3_600_000;

const unitArbitrary = fc.record({
  revision: fc.constantFrom('rev', 'old', 'older'),
  phase: fc.constantFrom<UnitObservation['phase']>('Starting', 'Running', 'Succeeded', 'Failed'),
  age: fc.integer({ min: 0, max: HOUR }),
  scheduled: fc.boolean(),
  ready: fc.integer({ min: 0, max: 1 }),
  retired: fc.boolean(),
  leaving: fc.boolean(),
  known: fc.constantFrom('no', 'yes', 'sentAway'),
});

const inputArbitrary: fc.Arbitrary<DecideInput> = fc
  .record({
    units: fc.array(unitArbitrary, { maxLength: 12 }),
    desiredState: fc.constantFrom('Ready' as const, 'Paused' as const, 'Draining' as const),
    minUnits: fc.integer({ min: 0, max: 4 }),
    spare: fc.integer({ min: 0, max: 6 }),
    requestsPerUnit: fc.integer({ min: 1, max: 5 }),
    maxScaleUpPerCycle: fc.integer({ min: 1, max: 5 }),
    cooldown: fc.integer({ min: 0, max: 60 }),
    queued: fc.integer({ min: 0, max: 40 }),
    queuedOld: fc.integer({ min: 0, max: 10 }),
    leased: fc.integer({ min: 0, max: 20 }),
    failures: fc.integer({ min: 0, max: 8 }),
    failedAgo: fc.integer({ min: 0, max: HOUR }),
    scaledAgo: fc.integer({ min: 0, max: HOUR }),
    gatewayKnown: fc.boolean(),
  })
  .map((drawn) => {
    const units = drawn.units.map((unit, index): UnitObservation => {
      const createdAt = NOW - unit.age;
      const { revision, phase, ready, retired, leaving } = unit;
      const base = { unit: `ocr-${index}`, placement: 'pool', revision, phase, ready, retired, leaving, createdAt };
      return unit.scheduled ? { ...base, scheduledAt: createdAt } : base;
    });
    const named = (kind: string): string[] =>
      units.flatMap((unit, index) => (drawn.units[index]?.known === kind ? [unit.unit] : []));
    return anInput({
      desiredState: drawn.desiredState,
      units,
      seen: [...named('yes'), ...named('sentAway')],
      sentAway: named('sentAway'),
      scaling: {
        minUnits: drawn.minUnits,
        maxUnits: Math.max(1, drawn.minUnits + drawn.spare),
        requestsPerUnit: drawn.requestsPerUnit,
        maxScaleUpPerCycle: drawn.maxScaleUpPerCycle,
        scaleUpCooldownSeconds: drawn.cooldown,
      },
      demand: {
        queued: drawn.queued + drawn.queuedOld,
        queued_by_revision: { rev: drawn.queued, old: drawn.queuedOld },
        leased: drawn.leased,
      },
      memory: { failures: drawn.failures, lastFailureAt: NOW - drawn.failedAgo, lastScaleUpAt: NOW - drawn.scaledAgo },
      ...(drawn.gatewayKnown ? {} : { gatewayProblem: 'down' }),
    });
  });

/** An input for which the property is false, or null. */
function counterexample(property: (input: DecideInput) => boolean): unknown {
  return fc.check(fc.property(inputArbitrary, property), { numRuns: RUNS }).counterexample;
}

const isFinished = (unit: UnitObservation | undefined): boolean =>
  unit?.phase === 'Succeeded' || unit?.phase === 'Failed';

const isOver = (unit: UnitObservation | undefined): boolean =>
  isFinished(unit) || (unit?.retired === true && unit.ready === 0);

function removesOnlyWhatIsOver(input: DecideInput, actions: readonly UnitAction[]): boolean {
  const units = new Map(input.units.map((unit) => [unit.unit, unit]));
  return actions.every((action) => action.type !== 'remove' || isOver(units.get(action.unit)));
}

const creationsOf = (actions: readonly UnitAction[]): UnitPlan[] =>
  actions.flatMap((action) => (action.type === 'create' ? [action.plan] : []));

describe('decideUnits, whatever it sees,', () => {
  it('removes only units that have finished, or were retired and have nothing ready', () => {
    expect(counterexample((input) => removesOnlyWhatIsOver(input, decideUnits(input).actions))).toBeNull();
  });

  it('retires no unit that leases, unless the queue has sent it away already', () => {
    const keepsLeasing = (input: DecideInput): boolean => {
      const leasing = new Set(input.demand?.units.filter((unit) => !unit.retired).map((unit) => unit.unit));
      return decideUnits(input).actions.every((action) => action.type !== 'retire' || !leasing.has(action.unit));
    };
    expect(counterexample(keepsLeasing)).toBeNull();
  });

  it('dismisses from the queue only units that have ended and hold nothing', () => {
    const dismissesDead = (input: DecideInput): boolean => {
      const alive = new Set(input.units.filter((unit) => !isFinished(unit)).map(({ unit }) => unit));
      const leases = new Map(input.demand?.units.map((unit) => [unit.unit, unit.leases]));
      const dismissed = decideUnits(input).actions.flatMap((a) => (a.type === 'dismiss' ? [a.unit] : []));
      return dismissed.every((unit) => !alive.has(unit) && leases.get(unit) === 0);
    };
    expect(counterexample(dismissesDead)).toBeNull();
  });

  it('never goes above maxUnits, whatever runs already', () => {
    const keepsCap = (input: DecideInput): boolean => {
      const { maxUnits, maxScaleUpPerCycle } = input.app.spec.scaling;
      const created = creationsOf(decideUnits(input).actions).length;
      const room = Math.max(0, maxUnits - unfinishedCount(sortUnits(input.units, input.demand)));
      return created <= room && created <= maxScaleUpPerCycle;
    };
    expect(counterexample(keepsCap)).toBeNull();
  });

  it('does one thing to one unit at most', () => {
    const touchesOnce = (input: DecideInput): boolean => {
      const { actions } = decideUnits(input);
      return (
        new Set(actions.map((action) => ('plan' in action ? action.plan.unit : action.unit))).size === actions.length
      );
    };
    expect(counterexample(touchesOnce)).toBeNull();
  });

  it('touches nothing while the gateway is unknown, and starts nothing while the app is paused', () => {
    const keepsOff = (input: DecideInput): boolean => {
      const { actions } = decideUnits(input);
      const paused = input.app.spec.desiredState === 'Paused';
      return (input.demand !== undefined || actions.length === 0) && !(paused && creationsOf(actions).length > 0);
    };
    expect(counterexample(keepsOff)).toBeNull();
  });

  it('decides the same twice, status included', () => {
    const decideAfresh = (input: DecideInput): string =>
      JSON.stringify(decideUnits({ ...input, random: anInput().random }));
    expect(counterexample((input) => decideAfresh(input) === decideAfresh(input))).toBeNull();
  });

  it('creates nothing more once its creations can be seen', () => {
    const settles = (input: DecideInput): boolean => {
      const first = decideUnits(input);
      const created = creationsOf(first.actions).map((plan) => aUnit(plan.unit, { createdAt: NOW }));
      const memory = created.length === 0 ? first.memory : { ...first.memory, lastScaleUpAt: NOW };
      const second = decideUnits({ ...input, memory, units: [...input.units, ...created] });
      return creationsOf(second.actions).length === 0;
    };
    expect(counterexample(settles)).toBeNull();
  });

  it('counts a failure once: the memory of a decision adds nothing in the next', () => {
    const countsOnce = (input: DecideInput): boolean => {
      const { memory } = decideUnits(input);
      return decideUnits({ ...input, memory }).memory.failures <= memory.failures;
    };
    expect(counterexample(countsOnce)).toBeNull();
  });

  it('asks to be woken only in the future', () => {
    expect(counterexample((input) => (decideUnits(input).requeueAfterMs ?? 1) > 0)).toBeNull();
  });
});

describe('decideFinal, whatever it sees,', () => {
  it('ends only what has finished, or was retired and has nothing ready', () => {
    expect(counterexample((input) => removesOnlyWhatIsOver(input, decideFinal(input.units, true).actions))).toBeNull();
  });

  it('leaves no unit out: each is retired, removed, leaving, or retired and still ready', () => {
    const coversAll = (input: DecideInput): boolean => {
      const touched = new Set(decideFinal(input.units, true).actions.map((a) => ('plan' in a ? a.plan.unit : a.unit)));
      return input.units.every((unit) => touched.has(unit.unit) || unit.leaving || (unit.retired && unit.ready > 0));
    };
    expect(counterexample(coversAll)).toBeNull();
  });

  it('waits while the gateway is unknown, and is done only when no unit is left', () => {
    const waits = (input: DecideInput): boolean =>
      decideFinal(input.units, false).actions.length === 0 &&
      decideFinal(input.units, true).unitsGone === (input.units.length === 0);
    expect(counterexample(waits)).toBeNull();
  });
});
