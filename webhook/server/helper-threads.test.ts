// SPDX-License-Identifier: Apache-2.0
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

const PROGRAM = `
  import { readFileSync, readdirSync } from 'node:fs';
  import { getPriority } from 'node:os';
  import { deferHelperThreads } from ${JSON.stringify(new URL('helper-threads.ts', import.meta.url).href)};
  deferHelperThreads();
  const threads = readdirSync('/proc/self/task').map((id) => ({
    comm: readFileSync('/proc/self/task/' + id + '/comm', 'latin1'),
    priority: getPriority(Number(id)),
  }));
  const own = getPriority(process.pid);
  console.log(JSON.stringify({
    helpers: threads.filter(({ comm }) => comm.includes('V8Worker')).map(({ priority }) => priority - own),
    others: threads.filter(({ comm }) => !comm.includes('V8Worker')).map(({ priority }) => priority - own),
  }));
`;

it('puts the helpers of V8 behind all other threads of the process', async () => {
  // A process of its own: what is given away cannot be taken back without a privilege.
  const args = ['--input-type=module', '--eval', PROGRAM];
  const { stdout } = await promisify(execFile)(process.execPath, args);
  const { helpers, others } = JSON.parse(stdout) as { helpers: number[]; others: number[] };
  expect(helpers.length).toBeGreaterThan(0);
  expect(helpers.every((priority) => priority > 0)).toBe(true);
  expect(new Set(others)).toEqual(new Set([0]));
});
