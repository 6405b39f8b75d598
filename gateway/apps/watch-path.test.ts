// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { watchPath } from './watch-path.ts';

let dir: string;
let stop: (() => void) | undefined;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'penstock-watch-'));
});

afterEach(() => {
  stop?.();
  rmSync(dir, { recursive: true });
});

/** Resolves at the next change. */
function nextChange(path: string): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  stop = watchPath(path, resolve);
  return promise;
}

test('a file that is written again is a change', async () => {
  const file = join(dir, 'file');
  writeFileSync(file, 'one');
  const changed = nextChange(file);
  writeFileSync(file, 'two, longer');
  await expect(changed).resolves.toBeUndefined();
});

test('a file that is replaced by a rename is a change, also a second time', async () => {
  const file = join(dir, 'file');
  writeFileSync(file, 'one');
  for (const text of ['two', 'three']) {
    const changed = nextChange(file);
    writeFileSync(join(dir, 'new'), text);
    renameSync(join(dir, 'new'), file);
    await expect(changed).resolves.toBeUndefined();
    stop?.();
  }
});

test('a ConfigMap’s mount that swaps its data link is a change', async () => {
  for (const [version, text] of [
    ['..1', 'one'],
    ['..2', 'two'],
  ] as const) {
    mkdirSync(join(dir, version));
    writeFileSync(join(dir, version, 'file'), text);
  }
  symlinkSync('..1', join(dir, '..data'));
  symlinkSync('..data/file', join(dir, 'file'));
  const changed = nextChange(join(dir, 'file'));
  symlinkSync('..2', join(dir, '..tmp'));
  renameSync(join(dir, '..tmp'), join(dir, '..data'));
  await expect(changed).resolves.toBeUndefined();
});

test.each<[string, (folder: string) => void]>([
  ['a manifest that is written again', (folder) => writeFileSync(join(folder, 'a.yaml'), 'two, longer')],
  ['a manifest that comes', (folder) => writeFileSync(join(folder, 'b.json'), '')],
  ['a manifest that goes', (folder) => rmSync(join(folder, 'a.yaml'))],
  ['a handler that comes', (folder) => writeFileSync(join(folder, 'handler.ts'), '')],
  ['the folder that goes', (folder) => rmSync(folder, { recursive: true })],
])('in a folder %s is a change', async (_name, act) => {
  const folder = join(dir, 'apps');
  mkdirSync(folder);
  writeFileSync(join(folder, 'a.yaml'), 'one');
  const changed = nextChange(folder);
  act(folder);
  await expect(changed).resolves.toBeUndefined();
});

test('a folder that is replaced as a whole is watched on', async () => {
  const folder = join(dir, 'apps');
  mkdirSync(folder);
  const changes: (() => void)[] = [];
  stop = watchPath(folder, () => changes.shift()?.());
  const replaced = new Promise<void>((resolve) => void changes.push(resolve));
  rmSync(folder, { recursive: true });
  mkdirSync(`${folder}.new`);
  writeFileSync(join(`${folder}.new`, 'a.yaml'), '');
  renameSync(`${folder}.new`, folder);
  await replaced;
  const written = new Promise<void>((resolve) => void changes.push(resolve));
  writeFileSync(join(folder, 'b.yaml'), '');
  await expect(written).resolves.toBeUndefined();
});

test('what a handler writes beside its manifest is none', async () => {
  writeFileSync(join(dir, 'calls.log'), '');
  let changes = 0;
  const ignore = watchPath(dir, () => void changes++);
  const file = nextChange(join(dir, 'calls.log'));
  writeFileSync(join(dir, 'calls.log'), 'one line');
  // Both have waited for the same event and the same time to settle.
  await file;
  ignore();
  expect(changes).toBe(0);
});

test('a neighbour of a file is none, an entry of a folder is one', async () => {
  const file = join(dir, 'file');
  writeFileSync(file, 'one');
  let changes = 0;
  const ignore = watchPath(file, () => void changes++);
  const folder = nextChange(dir);
  writeFileSync(join(dir, 'neighbour'), 'x');
  // Both have waited for the same event and the same time to settle.
  await folder;
  ignore();
  expect(changes).toBe(0);
});
