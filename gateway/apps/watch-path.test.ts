// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { watchPath } from './watch-path.ts';

/** A watched path in a folder of its own; `next` resolves with the next call. */
function watched(kind: 'file' | 'folder'): { folder: string; next: () => Promise<void> } {
  const root = mkdtempSync(join(tmpdir(), 'penstock-watch-'));
  const folder = join(root, 'apps');
  mkdirSync(folder);
  writeFileSync(join(folder, 'a.yaml'), '');
  let heard = (): void => {};
  const stop = watchPath(kind === 'file' ? join(folder, 'a.yaml') : folder, () => heard());
  onTestFinished(() => {
    stop();
    rmSync(root, { recursive: true });
  });
  const next = (): Promise<void> =>
    new Promise((resolve) => {
      heard = resolve;
    });
  return { folder, next };
}

test.each<[string, 'file' | 'folder', (folder: string) => void]>([
  ['a file that is written', 'file', (folder) => writeFileSync(join(folder, 'a.yaml'), 'b')],
  [
    'a file that is replaced by rename',
    'file',
    (folder) => {
      writeFileSync(join(folder, 'new'), 'b');
      renameSync(join(folder, 'new'), join(folder, 'a.yaml'));
    },
  ],
  ['a file that comes into a folder', 'folder', (folder) => writeFileSync(join(folder, 'b.yaml'), '')],
  ['a file that goes from a folder', 'folder', (folder) => rmSync(join(folder, 'a.yaml'))],
  ['a folder that goes', 'folder', (folder) => rmSync(folder, { recursive: true })],
])('%s is heard of', async (_name, kind, act) => {
  const { folder, next } = watched(kind);
  const heard = next();
  act(folder);
  await expect(heard).resolves.toBeUndefined();
});

test('a folder that is replaced is watched on, in its new place', async () => {
  const { folder, next } = watched('folder');
  const replaced = next();
  rmSync(folder, { recursive: true });
  mkdirSync(`${folder}.new`);
  renameSync(`${folder}.new`, folder);
  await replaced;
  const written = next();
  writeFileSync(join(folder, 'c.yaml'), '');
  await expect(written).resolves.toBeUndefined();
});
