// SPDX-License-Identifier: Apache-2.0
import { expect, it } from 'vitest';
import { ofChanges } from './changes.ts';
import { forbidden } from './problems.ts';

const OLD = { spec: { image: 'a', list: [{ name: 'x' }, { name: 'y' }], map: { 'a.b': 1 }, count: 1, units: 2 } };
type Spec = Record<string, unknown>;
const next = (change: Spec): { spec: Spec } => ({ spec: { ...OLD.spec, ...change } });

it.each<[string, string, Spec, readonly string[], boolean]>([
  ['a field that stays', 'spec.image', { count: 2 }, [], false],
  ['a field that changes', 'spec.image', { image: 'b' }, [], true],
  ['a field that goes', 'spec.image', { image: undefined }, [], true],
  ['an item that stays', 'spec.list[1].name', { list: [{ name: 'z' }, { name: 'y' }] }, [], false],
  ['an item that changes', 'spec.list[1].name', { list: [{ name: 'x' }, { name: 'z' }] }, [], true],
  ['an item that is new', 'spec.list[2].name', { list: [{}, {}, { name: 'z' }] }, [], true],
  ['a field that is missing in both, below something that stays', 'spec.map.other', { image: 'b' }, [], false],
  ['a field that is missing in both, below something that changes', 'spec.map.other', { map: { 'a.b': 2 } }, [], true],
  ['a name with a dot that changes', 'spec.map.a.b', { map: { 'a.b': 2 } }, [], true],
  ['a name with a dot that stays', 'spec.map.a.b', { image: 'b' }, [], false],
  ['the object itself', '', { image: 'b' }, [], true],
  ['a sum of which the other part changes', 'spec.units', { count: 2 }, ['spec.count'], true],
  ['a sum of which nothing changes', 'spec.units', { image: 'b' }, ['spec.count'], false],
  ['something inherited, which is no field', 'spec.constructor.name', { image: 'b' }, [], true],
])('%s', (_name, path, change, dependsOn, counts) => {
  const problems = [forbidden(path, 'no', dependsOn)];
  expect(ofChanges(problems, OLD, next(change))).toEqual(counts ? problems : []);
});
