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
