// SPDX-License-Identifier: Apache-2.0
import { edit, FULL_HANDLER, FULL_SIDECAR, HANDLER, SIDECAR } from './case.ts';
import type { Transition } from './case.ts';

const asSidecar = {
  'spec.worker': { archetype: 'Sidecar', image: 'model:1', server: { port: 8000 } },
};

/** Old and new state of one InferenceApp. */
export const TRANSITIONS: readonly Transition[] = [
  { name: 'nothing changes', old: FULL_HANDLER, next: FULL_HANDLER },
  {
    name: 'a default is written out',
    old: HANDLER,
    next: edit(HANDLER, { 'spec.scaling': { minUnits: 0, maxUnits: 1 } }),
  },
  { name: 'more units', old: HANDLER, next: edit(HANDLER, { 'spec.scaling': { minUnits: 2, maxUnits: 5 } }) },
  { name: 'another image', old: SIDECAR, next: edit(SIDECAR, { 'spec.worker.image': 'model:2' }) },
  { name: 'paused', old: HANDLER, next: edit(HANDLER, { 'spec.desiredState': 'Paused' }) },
  { name: 'everything but the archetype', old: FULL_SIDECAR, next: edit(SIDECAR, { 'metadata.name': 'full-sidecar' }) },
  {
    name: 'a Handler app becomes a Sidecar app',
    old: HANDLER,
    next: edit(HANDLER, asSidecar),
    path: 'spec.worker.archetype',
  },
  {
    name: 'a Sidecar app becomes a Handler app',
    old: SIDECAR,
    next: edit(SIDECAR, { 'spec.worker': { archetype: 'Handler', handler: 'a.ts' } }),
    path: 'spec.worker.archetype',
  },
  {
    name: 'the archetype is taken away',
    old: HANDLER,
    next: edit(HANDLER, { 'spec.worker.archetype': null }),
    path: 'spec.worker.archetype',
  },
  {
    name: 'minUnits rises above maxUnits',
    old: edit(HANDLER, { 'spec.scaling': { minUnits: 1, maxUnits: 2 } }),
    next: edit(HANDLER, { 'spec.scaling': { minUnits: 3, maxUnits: 2 } }),
    path: 'spec.scaling.minUnits',
  },
  {
    name: 'maxUnits falls below minUnits',
    old: edit(HANDLER, { 'spec.scaling': { minUnits: 2, maxUnits: 2 } }),
    next: edit(HANDLER, { 'spec.scaling': { minUnits: 2, maxUnits: 1 } }),
    path: 'spec.scaling.minUnits',
  },
  {
    name: 'an unknown field arrives',
    old: HANDLER,
    next: edit(HANDLER, { 'spec.worker.imgae': 'x' }),
    path: 'spec.worker.imgae',
  },
];
