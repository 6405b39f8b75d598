// SPDX-License-Identifier: Apache-2.0
// One program of ours with all it imports, as a few files of one flat folder.
import { build, type Plugin } from 'esbuild';
import { readFileSync, statSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { readFolder } from './image.ts';
import type { TarEntry } from './tar.ts';

/**
 * What a source file refers to by `new URL('./x', import.meta.url)` (a worker thread's entry, a Lua script, a folder of
 * Python files) is a file of its own beside the bundle. All land in one folder under names made of their path, so the
 * rewritten reference is right in whichever bundle the code ends up.
 */
const reference = /new URL\(\s*'(\.{1,2}\/[^']+)',\s*import\.meta\.url,?\s*\)/g;
const banner = [
  // CommonJS packages inside an ES module: give them what Node would.
  "import { createRequire as __createRequire } from 'node:module';",
  "import { dirname as __dirnameOf } from 'node:path';",
  'const require = __createRequire(import.meta.url);',
  'const __filename = import.meta.filename;',
  'const __dirname = __dirnameOf(__filename);',
].join('\n');

/**
 * A bundle gives each function the name that it has in the source, when it is made: a closure on a hot path pays for that each time. Without,
 * only those are called otherwise that share their name with another one; nothing in these programs goes by names.
 */
const WITHOUT_NAMES = new Set(['webhook/main.ts']);

/**
 * Where a file of the repository lies in the flat folder: `worker-runtime/hosts/thread.ts` → `worker-runtime.hosts.thread.js`.
 * What is no program of ours keeps its own name (Python imports by it): `worker-runtime/python/a.py` → `worker-runtime.python/a.py`.
 */
export function flatName(path: string): string {
  const flat = (name: string): string => name.replaceAll('/', '.');
  if (path.endsWith('/')) return flat(path.slice(0, -1));
  if (path.endsWith('.ts')) return flat(path).replace(/\.ts$/, '.js');
  return dirname(path) === '.' ? path : `${flat(dirname(path))}/${basename(path)}`;
}

/**
 * Bundles `entry` (a path in the repository at `root`) and every worker entry that it refers to. The entries lie in
 * `folder` of the image; the program is `${folder}/${flatName(entry)}`.
 */
export async function bundle(root: string, entry: string, folder: string): Promise<TarEntry[]> {
  const entries: TarEntry[] = [];
  const seen = new Set([entry]);
  const todo = [entry];
  const refer = (path: string): void => {
    if (seen.has(path)) return;
    seen.add(path);
    if (path.endsWith('.ts')) todo.push(path);
    else entries.push(...asset(root, path, folder));
  };
  for (let next = todo.pop(); next !== undefined; next = todo.pop()) {
    entries.push({ kind: 'file', path: `${folder}/${flatName(next)}`, source: await bundleOne(root, next, refer) });
  }
  // A file may be referred to by itself and by its folder.
  return [...new Map(entries.map((item) => [item.path, item])).values()];
}

function asset(root: string, path: string, folder: string): TarEntry[] {
  const target = `${folder}/${flatName(path)}`;
  const found = statSync(join(root, path), { throwIfNoEntry: false });
  if (!found) throw new Error(`bundle: ${path} is referred to, but is not there`);
  if (found.isFile()) return [{ kind: 'file', path: target, source: join(root, path) }];
  const wanted = (item: TarEntry): boolean => !item.path.endsWith('.ts') && !/(^|\/)__pycache__(\/|$)/.test(item.path);
  return readFolder(join(root, path))
    .filter(wanted)
    .map((item) => ({ ...item, path: `${target}/${item.path}` }));
}

async function bundleOne(root: string, entry: string, refer: (path: string) => void): Promise<Uint8Array> {
  if (!statSync(join(root, entry), { throwIfNoEntry: false })?.isFile())
    throw new Error(`bundle: there is no ${entry}`);
  const result = await build({
    absWorkingDir: root,
    entryPoints: [entry],
    bundle: true,
    write: false,
    platform: 'node',
    format: 'esm',
    target: 'node24',
    keepNames: !WITHOUT_NAMES.has(entry),
    legalComments: 'none',
    logLevel: 'warning',
    banner: { js: banner },
    plugins: [ownSources(root, entry, refer)],
  });
  const [output] = result.outputFiles;
  if (!output) throw new Error(`bundle: nothing came out for ${entry}`);
  return output.contents;
}

function ownSources(root: string, entry: string, refer: (path: string) => void): Plugin {
  return {
    name: 'own-sources',
    setup: (esbuild) => {
      esbuild.onLoad({ filter: /\.ts$/ }, ({ path }) => {
        const file = relative(root, path);
        if (file.startsWith('node_modules/') || file.startsWith('..')) return undefined;
        return { loader: 'ts', contents: rewriteSource(readFileSync(path, 'utf8'), file, file === entry, refer) };
      });
    },
  };
}

/** Exported for its test. `file`: the source's path in the repository. */
export function rewriteSource(source: string, file: string, isEntry: boolean, refer: (path: string) => void): string {
  const rewritten = source.replace(reference, (_whole, target: string) => {
    const path = join(dirname(file), target);
    refer(path);
    return `new URL('./${flatName(path)}${target.endsWith('/') ? '/' : ''}', import.meta.url)`;
  });
  // Inside a bundle these two would name the bundle, so a file looked up by them would silently be missing.
  const lost = /import\.meta\.(dirname|filename)\b/.exec(rewritten);
  if (lost) throw new Error(`bundle: ${file} uses ${lost[0]}; refer to files by new URL('./name', import.meta.url)`);
  // In a bundle every module would believe itself to be the program.
  return isEntry ? rewritten : rewritten.replace(/\bimport\.meta\.main\b/g, 'false');
}
