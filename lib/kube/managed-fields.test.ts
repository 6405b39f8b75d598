// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import type { Json } from '#base/json.ts';
import { ownsExactly } from './managed-fields.ts';
import type { KubeObject } from './types.ts';

const fields = {
  'f:status': {
    'f:replicas': {},
    'f:units': { 'f:ready': {}, 'f:starting': {} },
    'f:paths': { 'v:"a"': {}, 'v:"b"': {} },
    'f:order': {},
    'f:conditions': {
      'k:{"type":"Ready"}': { '.': {}, 'f:type': {}, 'f:status': {} },
      'k:{"type":"Held"}': { '.': {}, 'f:type': {}, 'f:status': {} },
    },
  },
};
const status = {
  replicas: 2,
  units: { ready: 1, starting: 1, failed: 9 },
  paths: ['b', 'z', 'a'],
  order: [2, 1],
  conditions: [
    { type: 'Theirs', status: 'True' },
    { type: 'Held', status: 'False' },
    { type: 'Ready', status: 'True' },
  ],
};
const wanted = {
  replicas: 2,
  units: { starting: 1, ready: 1 },
  paths: ['a', 'b'],
  order: [2, 1],
  conditions: [
    { type: 'Ready', status: 'True' },
    { type: 'Held', status: 'False' },
  ],
};

function observed(manager = 'me', subresource: string | undefined = 'status'): KubeObject {
  const managedFields = [
    { manager: 'other', operation: 'Apply', subresource: 'status', fieldsV1: { 'f:status': {} } },
    { manager, operation: 'Update', subresource: 'status', fieldsV1: { 'f:status': {} } },
    { manager, operation: 'Apply', subresource, fieldsV1: fields },
  ];
  return { metadata: { name: 'a', managedFields }, status } as unknown as KubeObject;
}

const cases: Record<string, [Json, boolean]> = {
  'the same, keys and list-map items in another order': [wanted, true],
  'undefined and null members count as absent': [
    { ...wanted, oldest: null, later: undefined } as unknown as Json,
    true,
  ],
  'another value': [{ ...wanted, replicas: 3 }, false],
  'a field less': [{ replicas: 2, units: wanted.units, paths: wanted.paths, order: wanted.order }, false],
  'a field more, although somebody else has set that value': [
    { ...wanted, units: { ...wanted.units, failed: 9 } },
    false,
  ],
  'a nested field less': [{ ...wanted, units: { ready: 1 } }, false],
  'an atomic list in another order': [{ ...wanted, order: [1, 2] }, false],
  'a set in another order': [{ ...wanted, paths: ['b', 'a'] }, true],
  'a set with another member': [{ ...wanted, paths: ['a', 'c'] }, false],
  'a condition less': [{ ...wanted, conditions: wanted.conditions.slice(1) }, false],
  'a condition changed': [
    { ...wanted, conditions: [{ type: 'Ready', status: 'False' }, wanted.conditions[1] as Json] },
    false,
  ],
  'a condition of theirs taken over': [
    { ...wanted, conditions: [wanted.conditions[0] as Json, { type: 'Theirs', status: 'True' }] },
    false,
  ],
  'another type altogether': [{ ...wanted, units: 'none' }, false],
};

test.for(Object.entries(cases))('%s', ([, [desired, same]]) => {
  expect(ownsExactly(observed(), 'status', desired, 'me')).toBe(same);
});

test.for([
  ['another manager', observed('me'), 'you'],
  ['an apply to the main resource', observed('me', ''), 'me'],
  ['no managedFields at all', { metadata: { name: 'a' }, status } as unknown as KubeObject, 'me'],
] as const)('%s owns nothing here', ([, object, manager]) => {
  expect(ownsExactly(object, 'status', wanted, manager)).toBe(false);
});
