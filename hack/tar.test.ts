// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { packImage, readFolder } from './image.ts';
import { writeTar, type TarEntry } from './tar.ts';

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'penstock-tar-'));
});
afterAll(() => rmSync(dir, { recursive: true }));

const tarOf = (entries: TarEntry[]): Buffer => {
  const chunks: Uint8Array[] = [];
  writeTar((chunk) => chunks.push(Buffer.from(chunk)), entries);
  return Buffer.concat(chunks);
};
const file = (path: string, text = path): TarEntry => ({ kind: 'file', path, source: Buffer.from(text) });

/** The system's tar is the judge. */
const listing = (tar: Buffer): string[] =>
  execFileSync('tar', ['--numeric-owner', '--utc', '-tvf', '-'], { input: tar, encoding: 'utf8' }).trim().split('\n');

test('the system tar reads back every kind of entry, owned by root and without a time', () => {
  const tar = tarOf([
    { kind: 'file', path: 'app/main.js', source: Buffer.from('x'), executable: true },
    { kind: 'link', path: 'app/latest', target: 'main.js' },
    { kind: 'dir', path: 'tmp', sticky: true },
  ]);
  expect(listing(tar).map((line) => line.replace(/\s+/g, ' '))).toEqual([
    'drwxr-xr-x 0/0 0 1970-01-01 00:00 app/',
    'lrwxrwxrwx 0/0 0 1970-01-01 00:00 app/latest -> main.js',
    '-rwxr-xr-x 0/0 1 1970-01-01 00:00 app/main.js',
    'drwxrwxrwt 0/0 0 1970-01-01 00:00 tmp/',
  ]);
});

test('a file from disk comes out byte for byte, whether or not it fills its last block', () => {
  for (const size of [0, 1, 511, 512, 513, 3_000_000]) {
    const path = join(dir, 'payload');
    writeFileSync(path, Buffer.alloc(size, 'penstock'));
    const tar = tarOf([{ kind: 'file', path: 'payload', source: path }]);
    expect(tar.length % 512).toBe(0);
    const out = execFileSync('tar', ['-xOf', '-', 'payload'], { input: tar, maxBuffer: 8e6 });
    expect(out.equals(readFileSync(path))).toBe(true);
  }
});

test('the order of the entries leaves no trace', () => {
  const entries = [file('b'), file('a/z'), file('a.b'), file('a/b')];
  expect(tarOf(entries).equals(tarOf(entries.toReversed()))).toBe(true);
});

test('a path of 200 bytes is split where the system tar puts it together again', () => {
  const path = `${'d'.repeat(80)}/${'e'.repeat(60)}/${'f'.repeat(58)}`;
  expect(listing(tarOf([file(path)])).at(-1)).toContain(path);
});

const refused: [why: string, entries: TarEntry[], message: string][] = [
  ['a path that leaves the archive', [file('../etc/passwd')], 'not a plain relative path'],
  ['an absolute path', [file('/etc/passwd')], 'not a plain relative path'],
  ['one path twice', [file('a'), file('a')], 'comes twice'],
  ['a file under a file', [file('a'), file('a/b')], 'no folder'],
  ['a name of 101 bytes', [file('n'.repeat(101))], 'too long'],
];

test.each(refused)('%s is refused', (_why, entries, message) => {
  expect(() => tarOf(entries)).toThrow(message);
});

test('an image of the same folder has the same bytes, and states a numeric user that is not root', () => {
  writeFileSync(join(dir, 'run'), 'x', { mode: 0o700 });
  const spec = { name: 'penstock/try:dev', layers: [readFolder(dir)], entrypoint: ['/run'] };
  const out = mkdtempSync(join(tmpdir(), 'penstock-image-'));
  try {
    packImage(spec, join(out, 'a.tar'));
    packImage(spec, join(out, 'b.tar'));
    expect(readFileSync(join(out, 'a.tar')).equals(readFileSync(join(out, 'b.tar')))).toBe(true);
    expect(statSync(join(out, 'a.tar')).size).toBeGreaterThan(0);
    const extract = (name: string): string =>
      execFileSync('tar', ['-xOf', join(out, 'a.tar'), name], { encoding: 'utf8' });
    const [image] = JSON.parse(extract('manifest.json')) as { Config: string; RepoTags: string[] }[];
    expect(image?.RepoTags).toEqual(['penstock/try:dev']);
    expect(JSON.parse(extract(image?.Config ?? ''))).toMatchObject({
      os: 'linux',
      config: { User: '65532:65532', Entrypoint: ['/run'] },
    });
  } finally {
    rmSync(out, { recursive: true });
  }
});

test('a name that is no image reference is refused', () => {
  expect(() => packImage({ name: 'Pen Stock', layers: [], entrypoint: [] }, join(dir, 'out.tar'))).toThrow(
    'no image name',
  );
});
