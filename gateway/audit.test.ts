// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { createFakeClock } from '#base/fake-clock.ts';
import { silentLogger } from '#base/logger.ts';
import { openAuditLog } from './audit.ts';

test('each entry is one line of JSON, whatever is in it, and lines of before stay', () => {
  const dir = mkdtempSync(join(tmpdir(), 'penstock-audit-'));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  const file = join(dir, 'audit.log');
  const clock = createFakeClock(Date.UTC(2026, 0, 1));
  for (const subject of ['key psk_abcd2345', 'evil\n{"audit": "forged"}\u2028"']) {
    const audit = openAuditLog({ file, clock, logger: silentLogger });
    audit.record({ subject, action: 'unit.retire', object: { unit: 'u-1' }, result: 'retired' });
    audit.close();
  }
  const lines = readFileSync(file, 'utf8').split('\n');
  expect(lines.pop()).toBe('');
  expect(lines.map((line) => JSON.parse(line) as unknown)).toMatchObject([
    { time: '2026-01-01T00:00:00.000Z', audit: true, subject: 'key psk_abcd2345', object: { unit: 'u-1' } },
    { subject: 'evil\n{"audit": "forged"}\u2028"', result: 'retired' },
  ]);
});

test('a file that cannot be opened is said at once', () => {
  const open = () => openAuditLog({ file: '/nowhere/audit.log', clock: createFakeClock(), logger: silentLogger });
  expect(open).toThrow('ENOENT');
});
