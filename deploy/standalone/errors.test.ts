// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { UsageError, explained } from './errors.ts';

test.each<[what: string, step: () => unknown, says: string]>([
  ['a refusal of the system', () => readFileSync('/nowhere'), '--data d: there is no such file or folder (/nowhere)'],
  [
    'a port in use',
    () => Promise.reject(Object.assign(new Error('listen EADDRINUSE'), { code: 'EADDRINUSE', port: 80 })),
    '--data d: another program uses this port; choose another one, or 0 for any free one (port 80)',
  ],
  ['a sentence of ours', () => Promise.reject(new Error('it is locked')), '--data d: it is locked'],
  ['what is explained already', () => Promise.reject(new UsageError('line 3: no')), 'line 3: no'],
])('%s becomes a sentence for a person', async (_what, step, says) => {
  await expect(explained('--data d', step)).rejects.toThrow(new UsageError(says));
});

test('a step that succeeds gives what it gives', async () => {
  expect(await explained('x', () => Promise.resolve(7))).toBe(7);
});
