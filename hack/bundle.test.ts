// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { bundle, rewriteSource } from './bundle.ts';
import { libraries, parseLdd } from './ldd.ts';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'penstock-bundle-'));
});
afterEach(() => rmSync(root, { recursive: true }));

const put = (path: string, text: string): void => {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), text);
};

test('a bundle runs from its one folder: worker thread, Python folder, script and CommonJS included', async () => {
  put('app/main.ts', `import './lib/part.ts';\nif (import.meta.main) console.log('main' as string);`);
  put(
    'app/lib/part.ts',
    `import { readFileSync } from 'node:fs';
     import { Worker } from 'node:worker_threads';
     import old from './old.cjs';
     console.log(old, readFileSync(new URL('./take.lua', import.meta.url), 'utf8'), readFileSync(new URL('../python/host.py', import.meta.url), 'utf8'));
     new Worker(new URL('./thread.ts', import.meta.url));
     if (import.meta.main) console.log('part thinks it is the program');`,
  );
  put('app/lib/old.cjs', `module.exports = require('node:path').basename(__filename);`);
  put('app/lib/thread.ts', `import { isMainThread } from 'node:worker_threads';\nconsole.log('thread', isMainThread);`);
  put('app/lib/take.lua', 'lua');
  put('app/python/host.py', 'python');
  const entries = await bundle(root, 'app/main.ts', 'out');
  expect(entries.map((entry) => entry.path).toSorted()).toEqual([
    'out/app.lib.thread.js',
    'out/app.lib/take.lua',
    'out/app.main.js',
    'out/app.python/host.py',
  ]);
  for (const entry of entries) {
    if (entry.kind === 'file')
      put(
        entry.path,
        typeof entry.source === 'string'
          ? execFileSync('cat', [entry.source], { encoding: 'utf8' })
          : Buffer.from(entry.source).toString(),
      );
  }
  const said = execFileSync(process.execPath, [join(root, 'out/app.main.js')], { encoding: 'utf8' });
  expect(said.trim().split('\n')).toEqual(['app.main.js lua python', 'main', 'thread false']);
});

test('two bundles of one source are equal', async () => {
  put('main.ts', 'console.log(1);');
  expect(await bundle(root, 'main.ts', 'out')).toEqual(await bundle(root, 'main.ts', 'out'));
});

test('an entry that is not there is named', async () => {
  await expect(bundle(root, 'gateway/main.ts', 'out')).rejects.toThrow('there is no gateway/main.ts');
});

test('a file looked up by import.meta.dirname is refused, for in a bundle it would be missing', () => {
  expect(() => rewriteSource('join(import.meta.dirname, "x.lua")', 'gateway/queue.ts', true, () => {})).toThrow(
    "gateway/queue.ts uses import.meta.dirname; refer to files by new URL('./name', import.meta.url)",
  );
});

test('ldd’s lines give libraries and loader, and a missing one is named', () => {
  const lines = [
    '\tlinux-vdso.so.1 (0x00007ffe)',
    '\tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007f14)',
    '\t/lib64/ld-linux-x86-64.so.2 (0x00007f14)',
  ];
  expect(parseLdd(lines.join('\n'), '/bin/x')).toEqual([
    '/lib/x86_64-linux-gnu/libm.so.6',
    '/lib64/ld-linux-x86-64.so.2',
  ]);
  expect(() => parseLdd('\tlibfoo.so.1 => not found', '/bin/x')).toThrow('/bin/x needs libfoo.so.1');
});

test('the Node that runs this needs a C library', () => {
  expect(libraries(process.execPath).some((path) => path.endsWith('/libc.so.6'))).toBe(true);
});
