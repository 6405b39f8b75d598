// SPDX-License-Identifier: Apache-2.0
import { hash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { expect, onTestFinished, test, vi } from 'vitest';
import { watchTenantsFile } from './tenants-file.ts';
import type { WatchedTenants } from './tenants-file.ts';

const KEYS = `tenants: [{name: one, apiKeys: [{sha256: ${hash('sha256', 'secret')}}]}]\n`;

function watchedFile(
  first: string,
  requireKeys = false,
): { tenants: WatchedTenants; write: (t: string) => void; log: string[] } {
  const dir = mkdtempSync(join(tmpdir(), 'penstock-tenants-'));
  const file = join(dir, 'tenants.yaml');
  const write = (text: string): void => writeFileSync(file, text);
  write(first);
  onTestFinished(() => rmSync(dir, { recursive: true }));
  const log: string[] = [];
  const logger = pino({}, { write: (line: string) => log.push(line) });
  const tenants = watchTenantsFile({ file, logger, requireKeys });
  onTestFinished(() => tenants.close());
  return { tenants, write, log };
}

test.each([
  ['empty', ''],
  ['only comments', '# soon\n'],
  ['cut off after its first word', 'tenants:\n'],
])('a file with keys that is read while it is %s lets nobody else in', async (_name, half) => {
  const { tenants, write, log } = watchedFile(KEYS);
  expect(tenants.byApiKey('secret')?.name).toBe('one');
  write(half);
  await vi.waitFor(() => expect(log.join()).toContain('the last good one stays in force'), { timeout: 5_000 });
  expect([tenants.keyCount(), tenants.anonymous(), tenants.byApiKey('secret')?.name]).toEqual([1, undefined, 'one']);
});

test('a list without keys, said in so many words, opens the gateway again', async () => {
  const { tenants, write } = watchedFile(KEYS);
  write('tenants: []\n');
  await vi.waitFor(() => expect(tenants.keyCount()).toBe(0), { timeout: 5_000 });
  expect(tenants.anonymous()).toEqual({ name: 'default', namespace: 'default' });
});

test('a file that is empty from the start means one tenant for everyone, and gets its keys later', async () => {
  const { tenants, write } = watchedFile('');
  expect(tenants.anonymous()?.name).toBe('default');
  write(KEYS);
  await vi.waitFor(() => expect(tenants.byApiKey('secret')?.name).toBe('one'), { timeout: 5_000 });
  expect(tenants.anonymous()).toBeUndefined();
});

test('a port that is open to others wants keys from the start', () => {
  expect(() => watchedFile('', true)).toThrow('no API key');
});
