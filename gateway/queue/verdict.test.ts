// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { stayOrLeave } from './verdict.ts';
import type { UnitSituation } from './verdict.ts';

const request = { desiredState: 'Ready', revision: 'r1', currentRevision: 'r1', floor: 0, lingerMs: 10 } as const;
const idle: UnitSituation = { holds: 0, waiting: false, live: 1, idleSince: 100, now: 105, closed: false };

test.each([
  ['holds a lease', { holds: 1 }, {}, { leave: false }],
  ['holds a lease of a closed app', { holds: 1, closed: true }, { desiredState: 'Paused' }, { leave: false }],
  ['is idle within the linger', {}, {}, { leave: false, recheckAt: 110 }],
  ['is idle at the end of the linger', { now: 110 }, {}, { leave: true }],
  ['has no linger', {}, { lingerMs: 0 }, { leave: true }],
  ['is one of the floor', { now: 999 }, { floor: 1 }, { leave: false }],
  ['is one above the floor', { now: 999, live: 2 }, { floor: 1 }, { leave: true }],
  ['finds work', { now: 999, waiting: true }, {}, { leave: false }],
  ['finds work of a paused app', { waiting: true }, { desiredState: 'Paused', floor: 9 }, { leave: true }],
  ['finds work of a draining app', { waiting: true }, { desiredState: 'Draining' }, { leave: false }],
  ['finds a draining app dry', {}, { desiredState: 'Draining', floor: 9 }, { leave: true }],
  ['is of an older revision and finds work', { waiting: true }, { currentRevision: 'r2' }, { leave: false }],
  ['is of an older revision and finds none', {}, { currentRevision: 'r2', floor: 9 }, { leave: true }],
  ['finds work of an app that is purged', { waiting: true, closed: true }, { floor: 9 }, { leave: true }],
] as const)('a unit that %s', (_name, situation, asked, verdict) => {
  expect(stayOrLeave({ ...request, ...asked }, { ...idle, ...situation })).toEqual(verdict);
});
