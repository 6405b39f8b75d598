// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import type { InferenceAppStatus } from '#crds/inference-app.gen.ts';
import { REASONS } from '#crds/names.ts';
import { anApp } from '../decide/testing.ts';
import { EMPTY_MEMORY } from '../decide/types.ts';
import type { AppMemory } from '../decide/types.ts';
import type { ActionResult } from '../units/cycle.ts';
import { appEvents } from './app-events.ts';

const plan = { unit: 'ocr-1', app: anApp(), appUid: 'uid-1', revision: 'rev', placement: 'pool' };
const ready: InferenceAppStatus = { phase: 'Ready', reason: 'units are serving', replicas: 1, units: { ready: 1 } };
const retire = { type: 'retire', unit: 'ocr-1', reason: REASONS.unitNotReady, message: 'unit ocr-1 is late' } as const;

interface Case {
  readonly before?: InferenceAppStatus;
  readonly after?: InferenceAppStatus;
  readonly memory?: AppMemory;
  readonly results?: readonly ActionResult[];
  readonly want: readonly string[];
}

const CASES: Record<string, Case> = {
  'nothing at rest': { before: ready, after: ready, want: [] },
  'a created unit': {
    results: [{ action: { type: 'create', plan }, outcome: 'done' }],
    want: ['Normal UnitCreated: unit ocr-1 was created in placement pool'],
  },
  'a refused creation': {
    results: [{ action: { type: 'create', plan }, outcome: 'failed', error: new Error('exceeded quota') }],
    want: ["Warning CreateFailed: a unit can't be made: exceeded quota"],
  },
  'a retired unit': {
    results: [{ action: retire, outcome: 'done' }],
    want: ['Warning UnitRetired: unit ocr-1 is late'],
  },
  'no Event for a unit that was busy': { results: [{ action: retire, outcome: 'busy' }], want: [] },
  'a reaped unit': {
    results: [{ action: { type: 'remove', unit: 'ocr-1' }, outcome: 'done' }],
    want: ['Normal UnitReaped: unit ocr-1 is over, its Job is removed'],
  },
  'a unit that came up': {
    before: { ...ready, units: { ready: 0 } },
    want: ['Normal UnitReady: 1 of 1 units are serving'],
  },
  'no Event for a unit that left': { before: { ...ready, units: { ready: 2 } }, want: [] },
  'a failed start': {
    memory: { ...EMPTY_MEMORY, failures: 2, lastFailure: 'exit code 1' },
    want: ['Warning UnitFailed: start 2 in a row failed: exit code 1'],
  },
  'an app that is held': {
    after: { ...ready, phase: 'Held', reason: 'placement gpu does not exist' },
    want: ['Warning Held: placement gpu does not exist'],
  },
  'an app that goes on': { before: { ...ready, phase: 'Held' }, want: ['Normal Ready: units are serving'] },
};

describe('appEvents', () => {
  it.each(Object.entries(CASES))(
    'tells of %s',
    (_name, { before = ready, after = ready, memory = EMPTY_MEMORY, results = [], want }) => {
      const events = appEvents(before, after, { before: EMPTY_MEMORY, after: memory }, results);
      expect(events.map(({ type, reason, note }) => `${type} ${reason}: ${note}`)).toEqual(want);
    },
  );
});
