// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { systemClock } from '#base/clock.ts';
import { silentLogger } from '#base/logger.ts';
import { systemRandom } from '#base/random.ts';
import { openFileSource } from './file-source.ts';
import type { FileAppSource } from './file-source.ts';

let dir: string;
const opened: FileAppSource[] = [];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'penstock-files-'));
  mkdirSync(join(dir, 'apps'));
});

afterEach(async () => {
  for (const source of opened.splice(0)) await source.close();
  rmSync(dir, { recursive: true });
});

function write(file: string, ...names: readonly string[]): void {
  const documents = names.map(
    (name) =>
      `apiVersion: penstock.dev/v1alpha1\nkind: InferenceApp\nmetadata: {name: ${name}}\nspec: {worker: {archetype: Handler, handler: ${name}.ts}}\n`,
  );
  writeFileSync(join(dir, 'apps', file), documents.join('---\n'));
}

/** Metadata of the first app. */
function firstOf(source: FileAppSource) {
  return source.manifest(source.list()[0]?.uid ?? '')?.app.metadata;
}

/** Opens it as a start of the process would. */
async function open(): Promise<FileAppSource> {
  for (const earlier of opened.splice(0)) await earlier.close();
  const source = openFileSource({
    path: join(dir, 'apps'),
    data: join(dir, 'data'),
    clock: systemClock,
    random: systemRandom,
    logger: silentLogger,
    check: (app) => (app.metadata.name === 'forbidden' ? [{ path: 'metadata.name', message: 'is not for here' }] : []),
  });
  opened.push(source);
  return source;
}

const uidOf = (source: FileAppSource, name: string): string | undefined => source.get('default', name)?.uid;

test('apps of all files are served in the default namespace, and keep their uids over restarts and edits', async () => {
  write('a.yaml', 'one', 'two');
  write('b.yml', 'three');
  writeFileSync(join(dir, 'apps', 'notes.txt'), 'not a manifest');
  const first = await open();
  const uids = ['one', 'two', 'three'].map((name) => uidOf(first, name));
  expect(new Set(uids).size).toBe(3);
  write('b.yml', 'three', 'four');
  const second = await open();
  expect(['one', 'two', 'three'].map((name) => uidOf(second, name))).toEqual(uids);
  expect(uidOf(second, 'four')).toBeDefined();
});

test('an app whose manifest goes is served as deleting over restarts, until it is purged; the name then starts anew', async () => {
  write('a.yaml', 'one', 'two');
  const uid = uidOf(await open(), 'one') ?? '';
  write('a.yaml', 'two');
  expect((await open()).byUid(uid)?.deleting).toBe(true);
  const again = await open();
  expect(again.get('default', 'one')?.deleting).toBe(true);
  expect(again.manifest(uid)?.app.metadata.deletionTimestamp).toBeDefined();
  again.purged(uid);
  expect(again.byUid(uid)).toBeUndefined();
  write('a.yaml', 'one', 'two');
  const fresh = await open();
  expect(uidOf(fresh, 'one')).not.toBe(uid);
  expect(fresh.get('default', 'one')?.deleting).toBe(false);
});

test('an app that comes back before its old self is purged is another app, and both are there', async () => {
  write('a.yaml', 'one');
  const old = uidOf(await open(), 'one') ?? '';
  write('a.yaml', 'other');
  await open();
  write('a.yaml', 'one', 'other');
  const source = await open();
  expect(uidOf(source, 'one')).not.toBe(old);
  expect(source.byUid(old)?.deleting).toBe(true);
});

test('purging an app that is not deleted changes nothing', async () => {
  write('a.yaml', 'one');
  const source = await open();
  const uid = uidOf(source, 'one') ?? '';
  source.purged(uid);
  expect(uidOf(source, 'one')).toBe(uid);
});

test('a file that cannot be read takes nothing away, and says where it is wrong', async () => {
  write('a.yaml', 'one');
  write('b.yaml', 'two');
  const uid = uidOf(await open(), 'one');
  writeFileSync(join(dir, 'apps', 'a.yaml'), 'kind: [InferenceApp\n');
  const source = await open();
  expect([uidOf(source, 'one'), source.get('default', 'one')?.deleting]).toEqual([uid, false]);
  expect(source.problems()).toEqual([expect.stringMatching(/a\.yaml:1: line \d+:/)]);
  expect(uidOf(source, 'two')).toBeDefined();
});

test.each([
  ['an unknown field', 'spec: {worker: {archetype: Handler, handler: a.ts, imgae: x}}', /imgae/],
  ['a missing handler', 'spec: {worker: {archetype: Handler}}', /spec\.worker\.handler/],
])('%s is a problem with its path, and other apps are served', async (_name, spec, problem) => {
  write('good.yaml', 'good');
  writeFileSync(
    join(dir, 'apps', 'bad.yaml'),
    `apiVersion: penstock.dev/v1alpha1\nkind: InferenceApp\nmetadata: {name: bad}\n${spec}\n`,
  );
  const source = await open();
  expect(source.list().map(({ name }) => name)).toEqual(['good']);
  expect(source.problems().join()).toMatch(problem);
});

test('a change that may not be is refused, and the old spec stays', async () => {
  write('a.yaml', 'one');
  const before = (await open()).get('default', 'one')?.spec;
  writeFileSync(
    join(dir, 'apps', 'a.yaml'),
    'apiVersion: penstock.dev/v1alpha1\nkind: InferenceApp\nmetadata: {name: one}\nspec: {worker: {archetype: Sidecar, command: [x], server: {port: 80}}}\n',
  );
  const source = await open();
  expect(source.get('default', 'one')?.spec).toEqual(before);
  expect(source.problems().join()).toMatch(/archetype is immutable/);
});

test('one name in two files is a problem, and what the runner forbids is one', async () => {
  write('a.yaml', 'one');
  write('b.yaml', 'one', 'forbidden');
  const source = await open();
  expect(source.list()).toHaveLength(1);
  expect(source.problems()).toEqual([
    expect.stringMatching(/b\.yaml:1: metadata\.name: default\/one is there twice/),
    expect.stringMatching(/b\.yaml:\d+: metadata\.name: is not for here/),
  ]);
});

test('a spec that changes raises the generation and keeps the uid', async () => {
  write('a.yaml', 'one');
  const before = firstOf(await open());
  writeFileSync(
    join(dir, 'apps', 'a.yaml'),
    readFileSync(join(dir, 'apps', 'a.yaml'), 'utf8').replace('one.ts', 'two.ts'),
  );
  const after = firstOf(await open());
  expect([before?.generation, after?.generation, after?.uid]).toEqual([1, 2, before?.uid]);
});

test.each([
  ['of another version', JSON.stringify({ version: 2, apps: [] }), /version 2/],
  ['that is no ledger', '{}', /apps\.json is not a ledger/],
  ['that is no JSON', '{', /apps\.json is not a ledger/],
])('a ledger %s is refused', async (_what, text, says) => {
  write('a.yaml', 'one');
  await open();
  writeFileSync(join(dir, 'data', 'apps.json'), text);
  await expect(open()).rejects.toThrow(says);
});
