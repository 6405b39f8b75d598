// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { compare } from './decide-case.ts';
import type { DecideCase } from './decide-case.ts';
import { NOW, aUnit, started } from './testing.ts';

const MIN = 60_000;

const wire = { unit: 'a', revision: 'rev', leases: 0, last_seen_at: NOW - 1000, retired: false };

const CASES: Record<string, DecideCase> = {
  // Units that ended without the queue's leave
  'a unit that failed is dismissed from the queue at once, its Job stays for its logs': {
    given: { units: [aUnit('a', { ...started, phase: 'Failed' })], seen: ['a'] },
    wantDismiss: ['a'],
    wantRequeueMs: 1_000,
    wantFailures: 1,
  },
  'a unit that ended by itself is dismissed before its Job is removed': {
    given: { units: [aUnit('a', { ...started, phase: 'Succeeded' })], seen: ['a'] },
    wantDismiss: ['a'],
    wantRequeueMs: 1_000,
  },
  'a unit that the queue has let go of is removed': {
    given: { units: [aUnit('a', { ...started, phase: 'Succeeded' })], seen: ['a'], sentAway: ['a'] },
    wantRemove: ['a'],
  },
  'a unit without any Job is dismissed': {
    given: { demand: { units: [wire] } },
    wantDismiss: ['a'],
    wantRequeueMs: 1_000,
  },
  'a dead unit is left to the queue until its leases have run out': {
    given: {
      demand: {
        leased: 1,
        units: [
          { ...wire, leases: 1 },
          { ...wire, unit: 'b', leases: 1 },
        ],
      },
      units: [aUnit('a', { ...started, phase: 'Succeeded' })],
    },
    wantRequeueMs: 'none',
  },
  'a unit that was dismissed is not dismissed again': {
    given: { demand: { units: [{ ...wire, retired: true }] } },
    wantRequeueMs: 'none',
  },
  'the replacement of a dead unit starts in the same decision': {
    given: { scaling: { minUnits: 1 }, units: [aUnit('a', { ...started, phase: 'Failed' })], seen: ['a'] },
    wantDismiss: ['a'],
    wantCreate: 1,
  },
  'nobody is dismissed while the gateway is unknown': {
    given: { gatewayProblem: 'connection refused', units: [aUnit('a', { ...started, phase: 'Failed' })] },
  },
  // Budgets
  'a unit without a node is kept within scheduleGraceSeconds': {
    given: { demand: { queued: 1 }, units: [aUnit('a', { createdAt: NOW - 9 * MIN })] },
    wantRequeueMs: MIN,
  },
  'a unit without a node past scheduleGraceSeconds is retired and counts as a failed start': {
    given: {
      demand: { queued: 1 },
      units: [aUnit('a', { createdAt: NOW - 10 * MIN, trouble: 'Unschedulable', message: '0/1 nodes are available' })],
    },
    wantRetire: ['a'],
    wantFailures: 1,
  },
  'a unit that never leases is retired past startupGraceSeconds': {
    given: { demand: { queued: 1 }, units: [aUnit('a', { ...started, scheduledAt: NOW - 15 * MIN })] },
    wantRetire: ['a'],
    wantFailures: 1,
  },
  'startup grace counts from the node, not from the creation': {
    given: { demand: { queued: 1 }, units: [aUnit('a', { createdAt: NOW - 20 * MIN, scheduledAt: NOW - MIN })] },
    wantRequeueMs: 14 * MIN,
  },
  'a unit that leases is never late, however old it is': {
    given: {
      demand: { queued: 1 },
      units: [aUnit('a', { ...started, createdAt: NOW - 999 * MIN, scheduledAt: NOW - 999 * MIN })],
      seen: ['a'],
    },
  },
  'a model server that is not healthy in time is retired': {
    given: {
      sidecar: 60,
      demand: { queued: 1 },
      units: [aUnit('a', { scheduledAt: NOW - 2 * MIN, startedAt: NOW - MIN })],
    },
    wantRetire: ['a'],
  },
  'pulling the image is not charged to the model server': {
    given: {
      sidecar: 60,
      demand: { queued: 1 },
      units: [aUnit('a', { scheduledAt: NOW - 5 * MIN, startedAt: NOW - 1000 })],
    },
    wantRequeueMs: 59_000,
  },
  'a failed start is counted once, however often it is looked at': {
    given: {
      demand: { queued: 1 },
      units: [aUnit('a', { createdAt: NOW - 10 * MIN })],
      memory: { failures: 1, lastFailureAt: NOW - 5000, counted: ['a'] },
    },
    wantRetire: ['a'],
    wantFailures: 1,
  },
  'a unit sent away by the queue that hangs is retired by its Job too': {
    given: { units: [aUnit('a', started)], seen: ['a'], sentAway: ['a'], lastSeenAt: NOW - MIN },
    wantRetire: ['a'],
  },
  'a unit sent away by the queue has a minute to end': {
    given: { units: [aUnit('a', started)], seen: ['a'], sentAway: ['a'], lastSeenAt: NOW - MIN + 1000 },
    wantRequeueMs: 1000,
  },

  // Reaping
  'a unit that finished is reaped': { given: { units: [aUnit('a', { phase: 'Succeeded' })] }, wantRemove: ['a'] },
  'a retired unit of which nothing is ready is removed': {
    given: { units: [aUnit('a', { retired: true })] },
    wantRemove: ['a'],
  },
  'a retired unit that is still ready is left alone': {
    given: { units: [aUnit('a', { ...started, retired: true })] },
  },
  'a unit whose removal is under way is not removed again': {
    given: { units: [aUnit('a', { phase: 'Succeeded', leaving: true }), aUnit('b', { retired: true, leaving: true })] },
  },
  'a failed unit stays a minute for its logs, and is replaced at once the first time': {
    given: { demand: { queued: 1 }, units: [aUnit('a', { phase: 'Failed', message: 'exit code 137' })] },
    wantCreate: 1,
    wantRequeueMs: MIN,
    wantFailures: 1,
  },
  'only the newest failed unit is kept': {
    given: {
      units: [
        aUnit('a', { phase: 'Failed', createdAt: NOW - 9000 }),
        aUnit('b', { phase: 'Failed', createdAt: NOW - 1000 }),
      ],
    },
    wantRemove: ['a'],
    wantFailures: 1,
  },
  'the kept failed unit goes after its minute': {
    given: {
      units: [aUnit('a', { phase: 'Failed' })],
      memory: { failures: 1, lastFailureAt: NOW - MIN, counted: ['a'] },
    },
    wantRemove: ['a'],
  },

  // Crash loops
  'the second failure in a row makes the next start wait 5 s': {
    given: {
      demand: { queued: 1 },
      units: [aUnit('a', { phase: 'Failed', message: 'exit code 1' })],
      memory: { failures: 1, lastFailureAt: NOW - 3000 },
    },
    wantCreate: 0,
    wantFailures: 2,
    wantPhase: 'Held',
    wantReason: /2 starts in a row failed, the next is tried at .*: exit code 1/,
    wantRequeueMs: 5000,
  },
  'the wait doubles': {
    given: { demand: { queued: 1 }, memory: { failures: 4, lastFailureAt: NOW - 1000 } },
    wantRequeueMs: 19_000,
    wantPhase: 'Held',
  },
  'the wait ends at 5 minutes': {
    given: { demand: { queued: 1 }, memory: { failures: 400, lastFailureAt: NOW } },
    wantRequeueMs: 5 * MIN,
  },
  'after the wait one more is tried': {
    given: { demand: { queued: 1 }, memory: { failures: 4, lastFailureAt: NOW - 20_000 } },
    wantCreate: 1,
    wantPhase: 'Scaling',
  },
  'three units that fall together are one failure': {
    given: { units: ['a', 'b', 'c'].map((name) => aUnit(name, { phase: 'Failed' })) },
    wantFailures: 1,
    wantRemove: ['b', 'c'],
  },
  'a unit made after the failure that serves for 30 s ends the row': {
    given: {
      units: [aUnit('a', { ...started, createdAt: NOW - 30_000 })],
      seen: ['a'],
      memory: { failures: 5, lastFailureAt: NOW - 40_000 },
    },
    wantFailures: 0,
  },
  'a unit older than the failure proves nothing': {
    given: {
      units: [aUnit('a', { ...started, createdAt: NOW - 90_000 })],
      seen: ['a'],
      memory: { failures: 5, lastFailureAt: NOW - 40_000 },
    },
    wantFailures: 5,
  },
  'a backoff without demand holds nothing': {
    given: { memory: { failures: 4, lastFailureAt: NOW } },
    wantPhase: 'Ready',
    wantRequeueMs: 'none',
  },
};

describe('decideUnits, when units do not do well', () => {
  it.each(Object.entries(CASES))('%s', (_name, want) => {
    const { got, wanted } = compare(want);
    expect(got).toEqual(wanted);
  });
});
