// SPDX-License-Identifier: Apache-2.0
// A tar writer whose output depends on nothing but its entries: sorted, owned by root, no times. Two builds of one tree
// give the same bytes, so an image's digest says whether something changed.
import { closeSync, openSync, readSync, statSync } from 'node:fs';

/** `source`: the bytes, or the path of a file on disk that holds them. `path`: relative, with `/`, without `.` or `..`. */
export type TarEntry =
  | {
      readonly kind: 'file';
      readonly path: string;
      readonly source: Uint8Array | string;
      readonly executable?: boolean;
    }
  | { readonly kind: 'dir'; readonly path: string; readonly sticky?: boolean }
  | { readonly kind: 'link'; readonly path: string; readonly target: string };

export type Sink = (chunk: Uint8Array) => void;

const block = 512;
/** ustar's own limits; no image of ours needs the pax extension, so a longer path is refused instead of mangled. */
const nameBytes = 100;
const prefixBytes = 155;
const copyBytes = 1 << 20;
/** ustar states a size in 11 octal digits. */
const maxFileBytes = 8 ** 11 - 1;

/** Writes one tar archive. Parent folders are added where the entries leave them out. Throws on a bad or repeated path. */
export function writeTar(sink: Sink, entries: readonly TarEntry[]): void {
  const all = withParents(entries);
  for (const path of [...all.keys()].sort()) {
    writeEntry(sink, all.get(path) as TarEntry);
  }
  sink(new Uint8Array(2 * block));
}

function withParents(entries: readonly TarEntry[]): Map<string, TarEntry> {
  const all = new Map<string, TarEntry>();
  for (const entry of entries) {
    checkPath(entry.path);
    const known = all.get(entry.path);
    if (known && !(known.kind === 'dir' && entry.kind === 'dir')) throw new Error(`tar: ${entry.path} comes twice`);
    all.set(entry.path, entry);
  }
  for (const { path } of entries) {
    const parts = path.split('/');
    for (let depth = 1; depth < parts.length; depth++) {
      const parent = parts.slice(0, depth).join('/');
      const known = all.get(parent);
      if (known && known.kind !== 'dir') throw new Error(`tar: ${path} lies under ${parent}, which is no folder`);
      if (!known) all.set(parent, { kind: 'dir', path: parent });
    }
  }
  return all;
}

function checkPath(path: string): void {
  const bad = path.split('/').some((part) => part === '' || part === '.' || part === '..');
  if (bad || path.includes('\0')) throw new Error(`tar: ${JSON.stringify(path)} is not a plain relative path`);
}

function writeEntry(sink: Sink, entry: TarEntry): void {
  if (entry.kind === 'dir') {
    sink(header(`${entry.path}/`, '5', entry.sticky ? 0o1777 : 0o755, 0, ''));
  } else if (entry.kind === 'link') {
    sink(header(entry.path, '2', 0o777, 0, entry.target));
  } else {
    const mode = entry.executable ? 0o755 : 0o644;
    const size = typeof entry.source === 'string' ? statSync(entry.source).size : entry.source.length;
    if (size > maxFileBytes) throw new Error(`tar: ${entry.path} has ${size} bytes; at most ${maxFileBytes} fit`);
    sink(header(entry.path, '0', mode, size, ''));
    if (typeof entry.source === 'string') copyFile(sink, entry.source, size);
    else sink(entry.source);
    sink(new Uint8Array((block - (size % block)) % block));
  }
}

function copyFile(sink: Sink, path: string, size: number): void {
  const file = openSync(path, 'r');
  try {
    let left = size;
    while (left > 0) {
      const chunk = Buffer.allocUnsafe(Math.min(copyBytes, left));
      const got = readSync(file, chunk);
      if (got === 0) throw new Error(`tar: ${path} became shorter while it was read`);
      sink(chunk.subarray(0, got));
      left -= got;
    }
  } finally {
    closeSync(file);
  }
}

function header(path: string, type: string, mode: number, size: number, target: string): Uint8Array {
  const [prefix, name] = splitPath(path);
  if (Buffer.byteLength(target) > nameBytes)
    throw new Error(`tar: link target ${target} is longer than ${nameBytes} bytes`);
  const bytes = Buffer.alloc(block);
  const octal = (value: number, at: number, digits: number): void => {
    bytes.write(value.toString(8).padStart(digits, '0'), at, 'ascii');
  };
  bytes.write(name, 0);
  octal(mode, 100, 7);
  octal(0, 108, 7); // owner: root
  octal(0, 116, 7); // group: root
  octal(size, 124, 11);
  octal(0, 136, 11); // time: the epoch
  bytes.write('        ', 148, 'ascii'); // the sum is taken with blanks in its own place
  bytes.write(type, 156, 'ascii');
  bytes.write(target, 157);
  bytes.write('ustar\x0000', 257, 'latin1');
  bytes.write(prefix, 345);
  octal(
    bytes.reduce((sum, byte) => sum + byte, 0),
    148,
    6,
  );
  bytes.write('\0 ', 154, 'latin1');
  return bytes;
}

function splitPath(path: string): [prefix: string, name: string] {
  if (Buffer.byteLength(path) <= nameBytes) return ['', path];
  for (let at = path.indexOf('/'); at !== -1; at = path.indexOf('/', at + 1)) {
    const [prefix, name] = [path.slice(0, at), path.slice(at + 1)];
    if (Buffer.byteLength(prefix) > prefixBytes) break;
    if (name !== '' && Buffer.byteLength(name) <= nameBytes) return [prefix, name];
  }
  throw new Error(`tar: ${path} is too long (names to ${nameBytes} bytes, folders to ${prefixBytes})`);
}
