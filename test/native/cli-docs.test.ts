// SPDX-License-Identifier: Apache-2.0
// docs/gpu-sharing.md as a person reads it: every command in it is run, in order, in one home, on the fake driver.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ERRORS } from '#native/cli/errors.ts';
import { PROGRAMS, ROOT, createAccount, fakeSmi } from './cli.ts';
import type { Account } from './cli.ts';

const text = readFileSync(join(ROOT, 'docs/gpu-sharing.md'), 'utf8');
const blocks = [...text.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(([, block = '']) => block);

let account: Account;
beforeAll(() => {
  account = createAccount();
  fakeSmi(account, [8192, 8192]);
  Object.assign(account.env, { PENSTOCK_VRAM_STATE_DIR: undefined, FAKE_CUDA_DEVICES: '2' });
  account.env['PATH'] = `${join(account.home, '.local/bin')}:${account.env['PATH'] ?? ''}`;
  // A Python whose programs use the GPU: serve.py until it is stopped.
  const use = join(PROGRAMS, 'vram-use');
  account.script(
    'python',
    `#!/bin/sh\ncase $1 in serve.py) exec '${use}' --hold 1000000 </dev/zero ;; *) exec '${use}' 1073741824 ;; esac\n`,
  );
});
afterAll(() => account.remove());

/** A line that says `# exits N` has to; every other one has to succeed. */
function asScript(block: string): string {
  const lines = block.split('\n').map((line) => {
    const [, command, status] = /^(.*?) +# exits ([0-9]+)$/.exec(line) ?? [];
    return command === undefined ? line : `status=0; ${command} || status=$?; [ $status = ${status} ]`;
  });
  return ['set -eux -o pipefail', ...lines].join('\n');
}

test('there are commands to run', () => {
  expect(blocks.length).toBeGreaterThan(8);
  expect(text.match(/^```/gm)).toHaveLength(2 * blocks.length);
});

test.each(blocks.map((block) => [block.trim().split('\n').join('; '), block] as const))('%s', (_title, block) => {
  const run = spawnSync('bash', ['-c', asScript(block)], {
    cwd: folderOf(block),
    env: account.env,
    encoding: 'utf8',
    timeout: 60_000,
  });
  // The trace says at which line it ended.
  expect(run.status === 0 ? '' : `${run.stdout}\n${run.stderr}`).toBe('');
  expect(run.status).toBe(0);
});

/** The first steps are made in the folder of Penstock, all others anywhere. */
function folderOf(block: string): string {
  return block.includes('make -C native') ? ROOT : account.home;
}

test('the table of codes is that of the program', () => {
  const rows = [...text.matchAll(/^\| ([0-9]+) \| `([a-z-]+)` \| (.+) \|$/gm)].map(([, exit, code, title]) => [
    code,
    { exit: Number(exit), title },
  ]);
  expect(Object.fromEntries(rows)).toEqual(ERRORS);
});

test('every command and every option that the text names exists', () => {
  const pages = ['run', 'sessions', 'allocate', 'attach', 'status', 'release', 'metrics', 'doctor']
    .map((command) => account.vram([command, '--help']).stdout)
    .join('\n');
  const foreign = new Set(['--user']);
  const options = [...text.matchAll(/--[a-z][a-z-]+/g)].map(([option]) => option);
  expect(options.filter((option) => !foreign.has(option) && !pages.includes(option))).toEqual([]);
  const commands = [...text.matchAll(/`penstock-vram ([a-z]+)/g)].map(([, command = '']) => command);
  expect(commands.filter((command) => command !== 'help' && !pages.includes(`penstock-vram ${command} - `))).toEqual(
    [],
  );
});
