// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { core } from './lua/core.ts';
import { scripts } from './scripts.ts';

const unpacks = (text: string): number => text.match(/(?<![\w.])unpack\(/g)?.length ?? 0;

test('no script unpacks a list but by parts: what grows with the tenants or leases of an app would not fit the stack of Lua', () => {
  expect(unpacks(core)).toBeGreaterThan(0);
  for (const [name, { text }] of Object.entries(scripts)) expect([name, unpacks(text)]).toEqual([name, unpacks(core)]);
});
