// SPDX-License-Identifier: Apache-2.0
// penstock-vram-install: what the init container of a pod runs.
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { spawnSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { BUILT } from './slice.ts';

const OBJECTS = ['libpenstock_nvml.so', 'libpenstock_vram.so'];
const asRoot = process.getuid?.() === 0;

let folder: string;
let image: string;
let target: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'penstock-install-'));
  [image, target] = [join(folder, 'image'), join(folder, 'target')];
  chmodSync(folder, 0o755);
  mkdirSync(image);
  mkdirSync(target);
  for (const name of OBJECTS) copyFileSync(join(BUILT, 'lib', name), join(image, name));
  copyFileSync(join(BUILT, 'install/penstock-vram-install'), join(image, 'install'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

interface Told {
  readonly status: number | null;
  readonly stderr: string;
}

function install(args: readonly string[], launcher: readonly string[] = []): Told {
  const [file = '', ...rest] = [...launcher, join(image, 'install'), ...args];
  const { status, stderr, error } = spawnSync(file, rest, { encoding: 'utf8', cwd: '/', env: {} });
  if (error !== undefined) throw error;
  return { status, stderr };
}

/** A shell with mounts of its own; `script` ends with the program. */
const apart = (script: string): Told =>
  install(
    [],
    ['/usr/bin/unshare', asRoot ? '-m' : '-Urm', '/bin/sh', '-c', `PATH=/usr/sbin:/usr/bin:/sbin:/bin; ${script}`],
  );

test('puts both objects in place, whole, for everybody to load and nobody to write', () => {
  expect(install([target])).toEqual({ status: 0, stderr: '' });
  expect(readdirSync(target).toSorted()).toEqual(OBJECTS);
  for (const name of OBJECTS) {
    expect(readFileSync(join(target, name)).equals(readFileSync(join(image, name)))).toBe(true);
    expect(statSync(join(target, name)).mode & 0o7777).toBe(0o555);
  }
});

test('a second run replaces them by new files; what a killed run left is no obstacle', () => {
  install([target]);
  const before = statSync(join(target, 'libpenstock_vram.so')).ino;
  const other = readFileSync(join(image, 'libpenstock_vram.so')).fill(0, 4096, 8192);
  writeFileSync(join(image, 'libpenstock_vram.so'), other);
  writeFileSync(join(target, '.new-libpenstock_vram.so'), 'half', { mode: 0o400 });
  expect(install([target])).toEqual({ status: 0, stderr: '' });
  expect(readFileSync(join(target, 'libpenstock_vram.so')).equals(other)).toBe(true);
  expect(statSync(join(target, 'libpenstock_vram.so')).ino).not.toBe(before);
  expect(readdirSync(target).toSorted()).toEqual(OBJECTS);
});

test('needs no library, no /proc and no user that anybody knows', () => {
  chmodSync(target, 0o777);
  const run = spawnSync('readelf', ['-Wld', join(image, 'install')], { encoding: 'utf8' }).stdout;
  expect(run).not.toMatch(/INTERP|NEEDED/);
  expect(statSync(join(image, 'install')).size).toBeLessThan(16 * 1024);
  // Only root may be somebody else; whoever is not root is nobody's user already.
  const nobody = ['/usr/bin/setpriv', '--reuid=12345', '--regid=54321', '--clear-groups', '--no-new-privs'];
  expect(install([target], asRoot ? nobody : [])).toEqual({ status: 0, stderr: '' });
  expect(apart(`mount -t tmpfs none /proc && exec ${image}/install ${target}`)).toEqual({ status: 0, stderr: '' });
  expect(readdirSync(target).toSorted()).toEqual(OBJECTS);
});

test.each([[[]], [['']], [['--help']], [['/a', '/b']]])('%j is a usage error', (args) => {
  expect(install(args)).toEqual({ status: 2, stderr: 'penstock-vram-install: usage: penstock-vram-install FOLDER\n' });
});

test('an object that is not in the image', () => {
  rmSync(join(image, 'libpenstock_nvml.so'));
  expect(install([target])).toEqual({
    status: 3,
    stderr: `penstock-vram-install: cannot read ${image}/libpenstock_nvml.so: no such file or folder (errno 2)\n`,
  });
});

test.each([
  ['is not there', (): Told => install([`${target}/none`]), 'no such file or folder (errno 2)'],
  ['is a file', (): Told => install([join(image, 'install')]), 'not a folder (errno 20)'],
  [
    'is read-only',
    (): Told => apart(`mount -t tmpfs -o ro none ${target} && exec ${image}/install ${target}`),
    'the file system is read-only (errno 30)',
  ],
  [
    'is full',
    (): Told => apart(`mount -t tmpfs -o size=64k none ${target} && exec ${image}/install ${target}`),
    'no room left (errno 28)',
  ],
])('a target that %s', (_what, run, why) => {
  const { status, stderr } = run();
  expect(status).toBe(4);
  expect(stderr).toMatch(/^penstock-vram-install: cannot write \S+\.new-libpenstock_vram\.so: .*\n$/);
  expect(stderr).toContain(why);
});

test('a target from which no object could be loaded: the pod is not to start without its limit', () => {
  const { status, stderr } = apart(`mount -t tmpfs -o noexec none ${target} && exec ${image}/install ${target}`);
  expect(status).toBe(5);
  expect(stderr).toBe(`penstock-vram-install: objects cannot be loaded from a noexec mount: ${target}\n`);
});
