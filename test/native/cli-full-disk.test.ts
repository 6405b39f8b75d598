// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { CLI, createAccount } from './cli.ts';
import type { Account } from './cli.ts';

let account: Account;
beforeEach(() => {
  account = createAccount();
});
afterEach(() => account.remove());

test('on a full disk sessions are shown and released, and a new one is refused with the path and the reason', () => {
  const disk = join(account.home, 'disk');
  mkdirSync(disk);
  const vram = `'${CLI}'`;
  const script = [
    `mount -t tmpfs -o size=16m,mode=700 tmpfs '${disk}'`,
    `export PENSTOCK_VRAM_STATE_DIR='${disk}/state'`,
    `${vram} allocate team --limit 1GiB`,
    `{ dd if=/dev/zero of='${disk}/fill' bs=4k 2>/dev/null || :; }`,
    `${vram} sessions`,
    `${vram} status team`,
    `{ ${vram} allocate other --limit 1GiB || echo "exit $?"; }`,
    `${vram} release team`,
  ].join(' && ');
  const unshare = (process.geteuid?.() ?? 0) === 0 ? ['-m'] : ['-rm'];
  const run = spawnSync('unshare', [...unshare, 'sh', '-c', script], { env: account.env, encoding: 'utf8' });
  expect([run.status, run.stderr]).toEqual([0, expect.stringContaining('the disk is full')]);
  expect(run.stdout).toMatch(/team +active +1GiB[^]*session team: active[^]*exit 14\nteam: released\n$/);
});
