// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { createScreen } from './screen.ts';
import type { Progress } from './screen.ts';

function screen(isTTY: boolean) {
  const out = { isTTY, text: '', write: (text: string) => void (out.text += text) };
  return { out, screen: createScreen(out) };
}

const at = (done: number): Progress => ({ done, total: 4, queued: 4 - done, leased: 0, units: 1 });

test('a terminal shows one line that overwrites itself, and what follows begins below it', () => {
  const { out, screen: s } = screen(true);
  s.progress(at(0));
  s.progress(at(2));
  s.line('done');
  const [first = '', second = ''] = out.text.split('\r\u001B[2K').slice(1);
  expect(first).toBe('  [............................] 0/4 done, 4 queued, 0 running, 1 unit');
  expect(second).toBe('  [##############..............] 2/4 done, 2 queued, 0 running, 1 unit\ndone\n');
});

test('elsewhere each state is a plain line, and no state is said twice', () => {
  const { out, screen: s } = screen(false);
  for (const done of [0, 0, 4, 4]) s.progress({ ...at(done), units: 2 });
  s.settle();
  expect(out.text).toBe(
    '  [............................] 0/4 done, 4 queued, 0 running, 2 units\n' +
      '  [############################] 4/4 done, 0 queued, 0 running, 2 units\n',
  );
});

test('a table has columns as wide as their widest cell, and no blanks at the ends of lines', () => {
  const { out, screen: s } = screen(false);
  s.table(
    ['page', 'text'],
    [
      ['a long name', 'x'],
      ['b', 'longer text'],
    ],
  );
  expect(out.text).toBe('page         text\n-----------  -----------\na long name  x\nb            longer text\n');
});
