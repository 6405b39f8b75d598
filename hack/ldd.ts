// SPDX-License-Identifier: Apache-2.0
// What a dynamically linked program needs beside itself, so that it runs in an image that holds nothing else.
import { execFileSync } from 'node:child_process';
import { existsSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { TarEntry } from './tar.ts';

/** Loaded by the C library by name at run time, so `ldd` does not list them (glibc before 2.34 resolves hosts by them). */
const dlopened = ['libnss_dns.so.2', 'libnss_files.so.2', 'libresolv.so.2'];

/** The absolute paths of the shared libraries of `binary`, the loader among them; none for a static program. */
export function libraries(binary: string): string[] {
  const run = lddOutput(binary);
  if (run === undefined) return [];
  return parseLdd(run, binary);
}

/** Exported for its test: reads the lines of `ldd`. Throws when a library is missing on this machine. */
export function parseLdd(output: string, binary: string): string[] {
  const paths: string[] = [];
  for (const line of output.split('\n').map((text) => text.trim())) {
    if (line.includes('=> not found'))
      throw new Error(`ldd: ${binary} needs ${line.split(' ')[0]}, which is not installed`);
    // "name => /path (0x…)" for a library, "/path (0x…)" for the loader; the kernel's vdso has no path.
    const path = /^(?:\S+ => )?(\/\S+) \(0x[0-9a-f]+\)$/.exec(line)?.[1];
    if (path !== undefined) paths.push(path);
  }
  return paths;
}

function lddOutput(binary: string): string | undefined {
  try {
    return execFileSync('ldd', [binary], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  } catch (error) {
    const { stderr } = error as { stderr?: string };
    if (stderr?.includes('not a dynamic executable')) return undefined;
    throw error;
  }
}

/** `binary` at `path` of the image with its libraries where its loader looks for them. */
export function closure(binary: string, path: string): TarEntry[] {
  const found = libraries(binary);
  const libc = found.find((library) => library.endsWith('/libc.so.6'));
  const extra =
    libc === undefined ? [] : dlopened.map((name) => join(dirname(libc), name)).filter((file) => existsSync(file));
  return [
    { kind: 'file', path, source: realpathSync(binary), executable: true },
    ...[...new Set([...found, ...extra])].map((library): TarEntry => ({
      kind: 'file',
      path: library.slice(1),
      source: realpathSync(library),
      executable: true,
    })),
  ];
}
