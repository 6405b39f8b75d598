// SPDX-License-Identifier: Apache-2.0
import { hash } from 'node:crypto';
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { expect, onTestFinished, test, vi } from 'vitest';
import { systemClock } from '#base/clock.ts';
import { createRegistry } from '#base/metrics.ts';
import type { AuditEntry } from '../audit.ts';
import { watchTenantsFile } from './tenants-file.ts';
import type { TenantsFileOptions } from './tenants-file.ts';

const SHA256 = hash('sha256', 'secret');
const KEYS = `tenants: [{name: one, apiKeys: [{sha256: ${SHA256}}]}]\n`;
/** What is waited for comes within a second, on a machine that has nothing else to do. */
const PATIENCE = { timeout: 40_000 };
const LIMIT = { timeout: 120_000 };

type Options = Partial<Pick<TenantsFileOptions, 'requireKeys' | 'homeNamespace'>>;

function watchedFile(first: string, options: Options = {}) {
  const dir = mkdtempSync(join(tmpdir(), 'penstock-tenants-'));
  const file = join(dir, 'tenants.yaml');
  const write = (text: string): void => writeFileSync(file, text);
  write(first);
  onTestFinished(() => rmSync(dir, { recursive: true }));
  return { ...watched(file, options), write };
}

function watched(file: string, options: Options = {}) {
  const log: string[] = [];
  const logger = pino({}, { write: (line: string) => log.push(line) });
  const entries: AuditEntry[] = [];
  const audit = { record: (entry: AuditEntry) => void entries.push(entry), close: () => {} };
  const registry = createRegistry('test', false);
  const tenants = watchTenantsFile({
    file,
    clock: systemClock,
    logger,
    registry,
    audit,
    requireKeys: false,
    ...options,
  });
  onTestFinished(() => tenants.close());
  const metric = async (name: string): Promise<number | undefined> =>
    (await registry.getSingleMetric(name)?.get())?.values[0]?.value;
  return { tenants, log, entries, metric };
}

test.each([
  ['empty', ''],
  ['only comments', '# soon\n'],
  ['cut off after its first word', 'tenants:\n'],
  ['no YAML', 'tenants: ['],
  ['of another kind', 'apps: []\n'],
])('a file with keys that is read while it is %s lets nobody else in, and is told of', LIMIT, async (_name, half) => {
  const { tenants, write, log, entries, metric } = watchedFile(KEYS);
  expect(tenants.byApiKey('secret')).toMatchObject({ name: 'one' });
  expect([await metric('penstock_tenants_reload_failures_total'), tenants.trouble()]).toEqual([0, undefined]);
  write(half);
  await vi.waitFor(() => expect(log.join()).toContain('the last good one stays in force'), PATIENCE);
  expect([tenants.keyCount(), tenants.anonymous()]).toEqual([1, undefined]);
  expect(tenants.byApiKey('secret')).toMatchObject({ name: 'one' });
  expect(await metric('penstock_tenants_reload_failures_total')).toBeGreaterThan(0);
  expect(await metric('penstock_tenants_last_reload_success')).toBe(0);
  expect(tenants.trouble()).toMatch(/^tenants file refused, the last good one stays in force: tenants: /);
  expect(entries.at(-1)).toMatchObject({ action: 'tenants.reload', result: 'refused' });

  write(`${KEYS}\n# mended`);
  await vi.waitFor(() => expect(tenants.trouble()).toBeUndefined(), PATIENCE);
  expect(await metric('penstock_tenants_last_reload_success')).toBe(1);
});

test(
  'a change is in force for the next call, is told to listeners, and stands in the audit log without digests',
  LIMIT,
  async () => {
    const { tenants, write, entries } = watchedFile(KEYS);
    let changes = 0;
    const off = tenants.onChange(() => void changes++);
    const prefix = 'psk_abcd2345';
    write(
      `tenants: [{name: one, weight: 5, apiKeys: [{sha256: ${hash('sha256', 'b')}, prefix: ${prefix}, role: admin}]}]\n` +
        'default: {maxQueued: 3}\n',
    );
    await vi.waitFor(() => expect(changes).toBe(1), PATIENCE);
    off();
    expect(tenants.byApiKey('secret')).toBeUndefined();
    expect(tenants.policies().of('one').weight).toBe(5);
    expect(tenants.policies().of('stranger').shareFor({ namespace: 'a', name: 'b' })).toEqual({
      weight: 1,
      maxQueued: 3,
    });
    expect([...tenants.policies().names()]).toEqual(['one']);
    expect(entries.map(({ action, result, before, after }) => ({ action, result, before, after }))).toEqual([
      { action: 'tenants.load', result: 'loaded', before: undefined, after: { tenants: 1, apiKeys: 1 } },
      {
        action: 'tenants.reload',
        result: 'reloaded',
        before: { tenants: { one: { name: 'one', apiKeys: [`sha256:${SHA256.slice(0, 8)} client`] } }, default: null },
        after: {
          tenants: { one: { name: 'one', weight: 5, apiKeys: [`${prefix} admin`] } },
          default: { maxQueued: 3 },
        },
      },
    ]);
  },
);

test('a large document is read beside the event loop, and refused by its field like any other', LIMIT, async () => {
  const { tenants, write } = watchedFile(KEYS);
  const many = Array.from({ length: 200 }, (_, i) => ({
    name: `t${i}`,
    apiKeys: [{ sha256: hash('sha256', `k${i}`) }],
  }));
  write(JSON.stringify({ tenants: many }));
  await vi.waitFor(() => expect(tenants.byApiKey('k199')).toMatchObject({ name: 't199' }), PATIENCE);
  write(JSON.stringify({ tenants: [...many, { name: 'late', weight: 0 }] }));
  const refused = 'tenants[200].weight: must be >= 1; write an integer from 1 to 1000';
  await vi.waitFor(() => expect(tenants.trouble()).toContain(refused), PATIENCE);
  // Two edits in a row: the last one counts.
  write(JSON.stringify({ tenants: many.slice(1) }));
  write(JSON.stringify({ tenants: many.slice(2) }));
  await vi.waitFor(() => expect([tenants.trouble(), tenants.keyCount()]).toEqual([undefined, 198]), PATIENCE);
});

test.each([
  ['tenants: []', 'tenants: []\n'],
  ['its tenant without a key', 'tenants: [{name: one}]\n'],
])(
  'the last key is taken out by %s: it is good no more, and nobody is let in without one',
  LIMIT,
  async (_how, text) => {
    const { tenants, write, log } = watchedFile(KEYS);
    write(text);
    await vi.waitFor(() => expect(tenants.keyCount()).toBe(0), PATIENCE);
    expect([tenants.byApiKey('secret'), tenants.anonymous(), tenants.trouble()]).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
    expect(log.join()).toContain('no API key is good, and nobody is let in');
  },
);

test('a file that is empty from the start lets nobody in, and gets its keys later', LIMIT, async () => {
  const { tenants, write, log } = watchedFile('');
  expect(tenants.anonymous()).toBeUndefined();
  expect(log.join()).toContain('no API key is good, and nobody is let in');
  write(KEYS);
  await vi.waitFor(() => expect(tenants.byApiKey('secret')).toMatchObject({ name: 'one' }), PATIENCE);
  expect(tenants.anonymous()).toBeUndefined();
});

test('the namespace of a tenant is the home that is said, until the entry names another', LIMIT, async () => {
  const digest = (key: string): string => hash('sha256', key);
  const { tenants, write } = watchedFile(KEYS, { homeNamespace: 'default' });
  expect(tenants.byApiKey('secret')).toMatchObject({ name: 'one', namespace: 'default' });
  write(
    `tenants: [{name: one, namespace: own, apiKeys: [{sha256: ${digest('a')}}]}, ` +
      `{name: two, apps: [ocr], apiKeys: [{sha256: ${digest('b')}}]}]\n`,
  );
  await vi.waitFor(() => expect(tenants.byApiKey('a')).toMatchObject({ namespace: 'own' }), PATIENCE);
  const two = tenants.policies().of('two');
  expect([two.namespace, two.mayCall({ namespace: 'default', name: 'ocr' })]).toEqual(['default', true]);
  expect(two.mayCall({ namespace: 'two', name: 'ocr' })).toBe(false);
  expect(tenants.policies().of('left').namespace).toBe('default');
});

test('a mounted ConfigMap is read again when the kubelet swaps its folder', LIMIT, async () => {
  const dir = mkdtempSync(join(tmpdir(), 'penstock-tenants-'));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  // As AtomicWriter does it: `tenants.yaml` → `..data/tenants.yaml`, `..data` → a folder with a time in its name.
  const publish = (version: string, text: string): void => {
    mkdirSync(join(dir, version));
    writeFileSync(join(dir, version, 'tenants.yaml'), text);
    symlinkSync(version, join(dir, '..data_tmp'));
    renameSync(join(dir, '..data_tmp'), join(dir, '..data'));
  };
  publish('..2026_01_01', KEYS);
  symlinkSync(join('..data', 'tenants.yaml'), join(dir, 'tenants.yaml'));
  const { tenants } = watched(join(dir, 'tenants.yaml'));
  publish('..2026_01_02', KEYS.replace('name: one', 'name: two'));
  await vi.waitFor(() => expect(tenants.byApiKey('secret')).toMatchObject({ name: 'two' }), PATIENCE);
});

test(
  'a port that is open to others wants keys from the start, and lets go of one that is taken out',
  LIMIT,
  async () => {
    expect(() => watchedFile('', { requireKeys: true })).toThrow('no API key');
    const { tenants, write } = watchedFile(KEYS, { requireKeys: true });
    write('tenants: []\n');
    // To keep the last good document here would keep a leaked key good.
    await vi.waitFor(() => expect(tenants.byApiKey('secret')).toBeUndefined(), PATIENCE);
    expect([tenants.anonymous(), tenants.trouble()]).toEqual([undefined, undefined]);
  },
);
