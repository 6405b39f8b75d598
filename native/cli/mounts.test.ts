// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { fileSystemOf, isNoexec, mountOf, parseMounts } from './mounts.ts';

const TEXT = String.raw`22 1 0:20 / / rw,relatime - ext4 /dev/sda1 rw
30 22 0:30 / /home rw,nosuid,noexec shared:1 - ext4 /dev/sdb1 rw
31 22 0:31 / /home/a\040b rw - tmpfs tmpfs rw
32 30 0:32 / /home rw - tmpfs tmpfs rw
broken line
`;

test('a path lies on the mount with the longest folder, and on the last one of equal ones', () => {
  const mounts = parseMounts(TEXT);
  expect(mounts).toHaveLength(4);
  expect(mountOf(mounts, '/usr')).toMatchObject({ point: '/', type: 'ext4' });
  expect(mountOf(mounts, '/home/a b/x')).toMatchObject({ point: '/home/a b' });
  expect(mountOf(mounts, '/home/x')).toMatchObject({ point: '/home', type: 'tmpfs' });
  expect(mountOf(mounts, '/homeless')).toMatchObject({ point: '/' });
});

test('a folder that is not there yet is as noexec as the one it will lie in', () => {
  const dir = mkdtempSync(join(tmpdir(), 'penstock-mounts-'));
  try {
    const file = join(dir, 'mountinfo');
    writeFileSync(file, `1 1 0:1 / / rw - ext4 x rw\n2 1 0:2 / ${dir} rw,noexec - tmpfs x rw\n`);
    expect(isNoexec(join(dir, 'not/yet/there'), file)).toBe(true);
    expect(isNoexec('/usr/not/there', file)).toBe(false);
    expect(isNoexec(dir, join(dir, 'missing'))).toBe(false);
    expect([fileSystemOf(join(dir, 'x'), file), fileSystemOf(dir, join(dir, 'missing'))]).toEqual(['tmpfs', '']);
  } finally {
    rmSync(dir, { recursive: true });
  }
});
