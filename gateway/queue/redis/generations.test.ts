// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { silentLogger } from '#base/logger.ts';
import type { Regression } from '../lease-queue.ts';
import { Generations } from './generations.ts';

function watched(): { readonly generations: Generations; readonly told: Regression[] } {
  const generations = new Generations(silentLogger);
  const told: Regression[] = [];
  generations.listen((found) => told.push(found));
  return { generations, told };
}

test('a step back is told once, and the next one when the app had come beyond what was seen', () => {
  const { generations, told } = watched();
  for (const found of [1, 5, 5, 3, 4]) generations.note('a', found);
  expect(told).toEqual([{ kind: 'went-back', app: 'a', seen: 5, found: 3 }]);
  expect(generations.highest().get('a')).toBe(5);
  for (const found of [6, 0, 1]) generations.note('a', found);
  expect(told.slice(1)).toEqual([{ kind: 'went-back', app: 'a', seen: 6, found: 0 }]);
});

test('another process of the store is told, not the first one; a step back in it is told anew', () => {
  const { generations, told } = watched();
  generations.noteRun('r1');
  for (const found of [5, 3]) generations.note('a', found);
  generations.noteRun('r1');
  generations.noteRun('r2');
  generations.note('a', 4);
  expect(told.map(({ kind }) => kind)).toEqual(['went-back', 'restarted', 'went-back']);
});

test('an app that was purged begins at 0 again', () => {
  const { generations, told } = watched();
  generations.note('a', 5);
  generations.forget('a');
  generations.note('a', 0);
  expect(told).toEqual([]);
});
