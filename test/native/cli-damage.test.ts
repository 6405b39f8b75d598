// SPDX-License-Identifier: Apache-2.0
// What the commands make of a session's files when they are not what they should be.
import { cpSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { systemRandom } from '#base/random.ts';
import { HEADER } from '#native/layout.ts';
import { allocate } from '#native/cli/commands/allocate.ts';
import { attach } from '#native/cli/commands/attach.ts';
import { metrics } from '#native/cli/commands/metrics.ts';
import { release } from '#native/cli/commands/release.ts';
import { run } from '#native/cli/commands/run.ts';
import { sessions } from '#native/cli/commands/sessions.ts';
import { status } from '#native/cli/commands/status.ts';
import { call, createAccount, storeOf } from './cli.ts';
import type { Account } from './cli.ts';

let account: Account;
beforeEach(() => {
  account = createAccount();
});
afterEach(() => account.remove());

const make = async (name: string): Promise<void> =>
  expect(await call(account, allocate, [name, '--limit', '1GiB'])).toMatchObject({ code: 'done' });
const dirOf = (name: string): string => join(account.stateDir, 'sessions', name);

/** Random bytes over a session's ledger, from there to its end. */
function scribble(dir: string, from: number): void {
  const path = join(dir, 'ledger');
  const bytes = readFileSync(path);
  writeFileSync(path, Buffer.concat([bytes.subarray(0, from), systemRandom.bytes(bytes.length - from)]));
}

const DAMAGE: readonly (readonly [string, (dir: string) => void])[] = [
  ['the record is missing', (dir) => rmSync(join(dir, 'session.json'))],
  ['the record is torn', (dir) => truncateSync(join(dir, 'session.json'), 20)],
  ['the record is huge', (dir) => truncateSync(join(dir, 'session.json'), 2 ** 40)],
  ['the control page is missing', (dir) => rmSync(join(dir, 'control'))],
  ['the control page is short', (dir) => truncateSync(join(dir, 'control'), 100)],
  ['the control page is noise', (dir) => writeFileSync(join(dir, 'control'), Buffer.alloc(4096, 0xa5))],
  ['the ledger is missing', (dir) => rmSync(join(dir, 'ledger'))],
  ['the ledger is noise', (dir) => scribble(dir, 0)],
  ['the ledger is of another session', (dir) => cpSync(join(dir, '../other/ledger'), join(dir, 'ledger'))],
  ['the ledger is huge', (dir) => truncateSync(join(dir, 'ledger'), 2 ** 40)],
  ['the object is missing', (dir) => rmSync(join(dir, 'libpenstock_vram.so'))],
  ['the object is another file', (dir) => writeFileSync(join(dir, 'libpenstock_vram.so'), 'x')],
  ['the object of NVML is empty', (dir) => truncateSync(join(dir, 'libpenstock_nvml.so'), 0)],
  ['what programs hold open is a file', (dir) => writeFileSync(join(dir, 'alive'), '', { mode: 0o600 })],
  ['it is of another session', (dir) => cpSync(join(dir, '../other/control'), join(dir, 'control'))],
];

test.each(DAMAGE)('a session is shown as damaged and goes by force when %s', async (_what, damage) => {
  await make('other');
  await make('team');
  damage(dirOf('team'));
  const listed = await call(account, sessions, ['--json']);
  expect(JSON.parse(listed.out)).toMatchObject([{ state: 'active' }, { name: 'team', state: 'damaged' }]);
  // No program is started where nothing would hold it to the limit.
  expect(await call(account, attach, ['team', '--', 'true'])).toMatchObject({ code: 'damaged' });
  expect(await call(account, run, ['--session', 'team', '--', 'true'])).toMatchObject({ code: 'damaged' });
  expect(await call(account, status, ['team'])).toMatchObject({
    code: 'damaged',
    out: expect.stringContaining('session team: damaged'),
  });
  for (const command of [status, sessions]) expect(await call(account, command, [])).toMatchObject({ code: 'done' });
  const figures = await call(account, metrics, []);
  expect(figures.out).toContain('penstock_vram_sessions{state="damaged",component="vram"} 1');
  expect(await call(account, release, ['team', '--force'])).toMatchObject({ code: 'done' });
  expect(storeOf(account).names()).toEqual(['other']);
});

test('a ledger of which only the first words are whole is shown within its limit', async () => {
  await make('team');
  scribble(dirOf('team'), HEADER.fields.lock.offset);
  const [session] = JSON.parse(account.vram(['status', '--json']).stdout) as [{ devices: { usedBytes: number }[] }];
  for (const { usedBytes } of session.devices) expect(usedBytes).toBeLessThanOrEqual(2 ** 30);
  expect(account.vram(['status']).status).toBe(0);
  expect(account.vram(['release', 'team']).status).toBe(0);
});
