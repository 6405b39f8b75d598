// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { decideUnits } from './decide.ts';
import { NOW, aDemand, aUnit, anInput, started } from './testing.ts';
import { compare } from './decide-case.ts';
import type { DecideCase } from './decide-case.ts';

const MIN = 60_000;

const CASES: Record<string, DecideCase> = {
  // Demand → number of units
  'nothing queued and no floor: nothing happens': { given: {}, wantPhase: 'Ready', wantReason: /first request/ },
  'one queued request starts one unit from zero': {
    given: { demand: { queued: 1 } },
    wantCreate: 1,
    wantPhase: 'Scaling',
  },
  'exactly requestsPerUnit queued still needs one unit': {
    given: { scaling: { maxUnits: 9, requestsPerUnit: 10 }, demand: { queued: 10 } },
    wantCreate: 1,
  },
  'one request more than requestsPerUnit needs a second unit': {
    given: { scaling: { maxUnits: 9, requestsPerUnit: 10 }, demand: { queued: 11 } },
    wantCreate: 2,
  },
  'a burst is held to maxScaleUpPerCycle, and asked again after a cycle': {
    given: { scaling: { maxUnits: 9, requestsPerUnit: 1, maxScaleUpPerCycle: 3 }, demand: { queued: 100 } },
    wantCreate: 3,
    wantRequeueMs: 1_000,
  },
  'the cap holds against any backlog': {
    given: { scaling: { maxUnits: 2, requestsPerUnit: 1, maxScaleUpPerCycle: 9 }, demand: { queued: 100 } },
    wantCreate: 2,
    wantRequeueMs: 'none',
  },
  'at the cap nothing more starts and the phase is Ready': {
    given: {
      scaling: { maxUnits: 1, requestsPerUnit: 1 },
      demand: { queued: 50 },
      units: [aUnit('a', started)],
      seen: ['a'],
    },
    wantPhase: 'Ready',
    wantReason: /maxUnits/,
  },
  'starting units count as capacity': {
    given: {
      scaling: { maxUnits: 9, requestsPerUnit: 10 },
      demand: { queued: 20 },
      units: [aUnit('a'), aUnit('b')],
    },
    wantPhase: 'Scaling',
  },
  'leased requests count as load': {
    given: {
      scaling: { maxUnits: 9, requestsPerUnit: 10 },
      demand: { queued: 5, leased: 10 },
      units: [aUnit('a', started)],
      seen: ['a'],
    },
    wantCreate: 1,
  },
  'leased requests alone start no unit: there is nothing left to take': {
    given: {
      scaling: { maxUnits: 9, requestsPerUnit: 1 },
      demand: { leased: 5 },
      units: [aUnit('a', started)],
      seen: ['a'],
    },
    wantPhase: 'Ready',
  },
  'one queued request beside five leased ones starts one unit, not five': {
    given: {
      scaling: { maxUnits: 9, requestsPerUnit: 1, maxScaleUpPerCycle: 9 },
      demand: { queued: 1, leased: 5 },
      units: [aUnit('a', started)],
      seen: ['a'],
    },
    wantCreate: 1,
  },
  'a unit that the queue has sent away is no capacity for the next request': {
    given: {
      scaling: { maxUnits: 2 },
      demand: { queued: 1 },
      units: [aUnit('a', started)],
      seen: ['a'],
      sentAway: ['a'],
    },
    wantCreate: 1,
  },
  'a unit that leaves still counts against the cap': {
    given: {
      scaling: { maxUnits: 1 },
      demand: { queued: 1 },
      units: [aUnit('a', started)],
      seen: ['a'],
      sentAway: ['a'],
    },
    wantPhase: 'Scaling',
  },
  'surplus units that run are never touched: they leave by themselves': {
    given: { scaling: { maxUnits: 9 }, units: [aUnit('a', started), aUnit('b', started)], seen: ['a', 'b'] },
    wantPhase: 'Ready',
  },
  'a surplus unit that still waits for a node is retired': {
    given: { scaling: { maxUnits: 9 }, units: [aUnit('a')] },
    wantRetire: ['a'],
  },
  'of several waiting units the newest go first': {
    given: {
      scaling: { maxUnits: 9, requestsPerUnit: 1 },
      demand: { queued: 1 },
      units: [aUnit('old', { createdAt: NOW - 3000 }), aUnit('new', { createdAt: NOW - 1000 })],
    },
    wantRetire: ['new'],
  },
  'a surplus unit that has a node but is not up yet is left to the queue': {
    given: { scaling: { maxUnits: 9 }, units: [aUnit('a', { scheduledAt: NOW - 1000 })] },
  },

  // Floor
  'a floor is filled without any request': { given: { scaling: { minUnits: 2, maxUnits: 5 } }, wantCreate: 2 },
  'a full floor at rest does nothing, however often it is looked at': {
    given: {
      scaling: { minUnits: 2, maxUnits: 5 },
      units: [aUnit('a', started), aUnit('b', started)],
      seen: ['a', 'b'],
    },
    wantPhase: 'Ready',
    wantRequeueMs: 'none',
  },
  'a floor above the load wins over it': {
    given: { scaling: { minUnits: 3, maxUnits: 5, requestsPerUnit: 10 }, demand: { queued: 1 } },
    wantCreate: 3,
  },
  'a lost floor unit is replaced': {
    given: { scaling: { minUnits: 2, maxUnits: 5 }, units: [aUnit('a', started)], seen: ['a'] },
    wantCreate: 1,
  },

  // Cooldown
  'a cooldown holds further units back and names the time': {
    given: {
      scaling: { maxUnits: 9, requestsPerUnit: 1, scaleUpCooldownSeconds: 60 },
      demand: { queued: 5 },
      units: [aUnit('a', started)],
      seen: ['a'],
      memory: { lastScaleUpAt: NOW - 10_000 },
    },
    wantCreate: 0,
    wantRequeueMs: 50_000,
  },
  'after the cooldown the next units start': {
    given: {
      scaling: { maxUnits: 9, requestsPerUnit: 1, scaleUpCooldownSeconds: 60 },
      demand: { queued: 5 },
      units: [aUnit('a', started)],
      seen: ['a'],
      memory: { lastScaleUpAt: NOW - 60_000 },
    },
    wantCreate: 3,
  },
  'a start from zero waits for no cooldown': {
    given: {
      scaling: { maxUnits: 9, scaleUpCooldownSeconds: 3600 },
      demand: { queued: 1 },
      memory: { lastScaleUpAt: NOW - 1 },
    },
    wantCreate: 1,
  },
  'two decisions within a second are one cycle': {
    given: {
      scaling: { maxUnits: 9, requestsPerUnit: 1, maxScaleUpPerCycle: 1 },
      demand: { queued: 5 },
      units: [aUnit('a')],
      memory: { lastScaleUpAt: NOW - 400 },
    },
    wantCreate: 0,
    wantRequeueMs: 600,
  },

  // Paused and draining
  'paused: no unit starts, whatever waits': {
    given: { desiredState: 'Paused', scaling: { minUnits: 1 }, demand: { queued: 100 } },
    wantPhase: 'Paused',
  },
  'paused: running units leave by themselves': {
    given: { desiredState: 'Paused', demand: { queued: 9, leased: 1 }, units: [aUnit('a', started)], seen: ['a'] },
    wantPhase: 'Paused',
    wantReason: /finish what they hold/,
  },
  'paused: a unit that waits for a node is retired': {
    given: { desiredState: 'Paused', demand: { queued: 9 }, units: [aUnit('a')] },
    wantRetire: ['a'],
  },
  'draining: units start while something is queued': {
    given: { desiredState: 'Draining', demand: { queued: 1 } },
    wantCreate: 1,
    wantPhase: 'Draining',
  },
  'draining: nothing queued means no floor': {
    given: { desiredState: 'Draining', scaling: { minUnits: 1 } },
    wantPhase: 'Draining',
    wantReason: /no unit runs/,
  },
  'draining: units that hold the last requests are left alone': {
    given: { desiredState: 'Draining', demand: { leased: 1 }, units: [aUnit('a', started)], seen: ['a'] },
    wantPhase: 'Draining',
  },

  // Revision
  'work for the new revision starts a unit of it beside the old one': {
    given: {
      scaling: { maxUnits: 2 },
      demand: { queued: 1 },
      units: [aUnit('a', { ...started, revision: 'old' })],
      seen: ['a'],
    },
    wantCreate: 1,
  },
  'work queued for an older revision belongs to its units while one lives': {
    given: {
      scaling: { maxUnits: 2 },
      demand: { queued: 5, queued_by_revision: { old: 5 } },
      units: [aUnit('a', { ...started, revision: 'old' })],
      seen: ['a'],
    },
  },
  'work queued for an older revision without a unit counts: the queue re-keys it': {
    given: { demand: { queued: 5, queued_by_revision: { old: 5 } } },
    wantCreate: 1,
  },
  'the cap covers both revisions': {
    given: {
      scaling: { maxUnits: 1 },
      demand: { queued: 1 },
      units: [aUnit('a', { ...started, revision: 'old' })],
      seen: ['a'],
    },
  },
  'the floor is filled with the new revision where the cap allows': {
    given: { scaling: { minUnits: 1, maxUnits: 2 }, units: [aUnit('a', { ...started, revision: 'old' })], seen: ['a'] },
    wantCreate: 1,
  },
  'an old unit that waits for a node is retired once nothing is queued for it': {
    given: { scaling: { maxUnits: 2 }, demand: { queued: 1 }, units: [aUnit('a', { revision: 'old' })] },
    wantRetire: ['a'],
    wantCreate: 1,
  },

  // Gateway unknown
  'gateway unknown: nothing starts, not even the floor': {
    given: { gatewayProblem: 'connection refused', scaling: { minUnits: 1 } },
    wantPhase: 'Held',
    wantReason: /connection refused/,
  },
  'gateway unknown: nothing is retired and nothing is removed': {
    given: {
      gatewayProblem: 'connection refused',
      units: [
        aUnit('late', { createdAt: NOW - 999 * MIN }),
        aUnit('done', { phase: 'Succeeded' }),
        aUnit('retired', { retired: true }),
      ],
    },
    wantRequeueMs: 'none',
  },
  'gateway unknown: a failure is still counted': {
    given: { gatewayProblem: 'connection refused', units: [aUnit('a', { phase: 'Failed' })] },
    wantFailures: 1,
  },

  // Held
  'no placement: nothing starts and the reason says why': {
    given: { noPlacement: 'placement gpu does not exist', demand: { queued: 1 } },
    wantPhase: 'Held',
    wantReason: /placement gpu does not exist/,
  },
  'no placement: finished units are still reaped': {
    given: { noPlacement: 'placement gpu does not exist', units: [aUnit('a', { phase: 'Succeeded' })] },
    wantRemove: ['a'],
  },
  'no placement: units that run are left alone': {
    given: {
      noPlacement: 'placement gpu does not exist',
      scaling: { maxUnits: 2, requestsPerUnit: 1 },
      demand: { queued: 2 },
      units: [aUnit('a', started), aUnit('b', { createdAt: NOW - 99 * MIN })],
      seen: ['a'],
    },
    wantPhase: 'Held',
  },
  'an image that is missing holds the app': {
    given: { specProblem: 'spec.worker.image is required in a cluster', demand: { queued: 1 } },
    wantPhase: 'Held',
    wantReason: /image is required/,
  },
  'units that all have trouble starting make the app Held, with their reasons': {
    given: {
      demand: { queued: 1 },
      units: [
        aUnit('a', { trouble: 'Unschedulable', message: '0/1 nodes are available: Insufficient nvidia.com/gpu' }),
      ],
    },
    wantPhase: 'Held',
    wantReason: /Insufficient nvidia.com\/gpu/,
  },
  'one unit without trouble is enough to be Scaling': {
    given: {
      scaling: { maxUnits: 2, requestsPerUnit: 1 },
      demand: { queued: 2 },
      units: [aUnit('a', { trouble: 'ImagePull', message: 'not found' }), aUnit('b')],
    },
    wantPhase: 'Scaling',
  },
};

describe('decideUnits', () => {
  it.each(Object.entries(CASES))('%s', (_name, want) => {
    const { got, wanted } = compare(want);
    expect(got).toEqual(wanted);
  });

  it('gives new units distinct names that are DNS labels, and all they are made from', () => {
    const input = anInput({ scaling: { minUnits: 3, maxUnits: 5 } });
    const plans = decideUnits(input).actions.flatMap((action) => (action.type === 'create' ? [action.plan] : []));
    expect(new Set(plans.map((plan) => plan.unit)).size).toBe(3);
    for (const plan of plans) {
      expect(plan.unit).toMatch(/^ocr-[0-9b-z]{11}$/);
      expect(plan).toMatchObject({ appUid: 'uid-1', revision: 'rev', placement: 'pool', app: input.app });
    }
  });

  it('does nothing the second time once its creations can be seen', () => {
    const input = anInput({ scaling: { maxUnits: 3, requestsPerUnit: 1 }, demand: aDemand({ queued: 3 }) });
    const made = decideUnits(input).actions.flatMap((action) => (action.type === 'create' ? [action.plan.unit] : []));
    const after = { ...input, units: made.map((unit) => aUnit(unit)) };
    expect(decideUnits(after).actions).toEqual([]);
  });

  it('says that a slice is not acted on as long as a unit has whole GPUs, and while nobody runs that it is', () => {
    const told = (whole: boolean, units = [aUnit('a', { ...started, ...(whole ? { whole } : {}) })]): unknown => {
      const { status } = decideUnits(anInput({ units, seen: ['a'] }));
      const condition = status.conditions?.find(({ type }) => type === 'Unsupported');
      return [condition?.status, status.unsupportedFields, /whole GPUs/.test(condition?.message ?? '')];
    };
    expect(told(true)).toEqual(['True', ['spec.resources.gpu.slice'], true]);
    expect(told(false)).toEqual(['False', undefined, false]);
    expect(told(true, [])).toEqual(['False', undefined, false]);
  });
});
