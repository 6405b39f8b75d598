// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { expect, test } from 'vitest';

const root = resolve(import.meta.dirname, '..');

/** Lints one file that holds one import, under the repository's own rules, in a tree of its own. */
function lintImport(file: string, specifier: string): { status: number | null; output: string } {
  const tree = mkdtempSync(join(tmpdir(), 'penstock-arrows-'));
  try {
    cpSync(join(root, '.oxlintrc.json'), join(tree, '.oxlintrc.json'));
    symlinkSync(join(root, 'node_modules'), join(tree, 'node_modules'));
    mkdirSync(dirname(join(tree, file)), { recursive: true });
    writeFileSync(join(tree, file), `import { x } from '${specifier}';\nexport const y = x;\n`);
    const run = spawnSync(process.execPath, [join(root, 'node_modules/oxlint/bin/oxlint'), file], {
      cwd: tree,
      encoding: 'utf8',
    });
    return { status: run.status, output: run.stdout + run.stderr };
  } finally {
    rmSync(tree, { recursive: true });
  }
}

const WRONG = {
  'the CRDs import nothing of ours': ['crds/x.ts', '#base/clock.ts'],
  'lib/base does not import the CRDs': ['lib/base/x.ts', '#crds/names.ts'],
  'lib/base does not import its sibling': ['lib/base/x.ts', '../kube/cache.ts'],
  'lib/kube does not import the operator': ['lib/kube/x.ts', '#operator/errors.ts'],
  'the operator does not import the gateway': ['operator/units/x.ts', '#gateway/errors.ts'],
  'the operator does not reach the gateway by a relative path': ['operator/units/x.ts', '../../gateway/errors.ts'],
  'the gateway does not import the operator': ['gateway/x.ts', '#operator/errors.ts'],
  'a worker does not import the gateway': ['worker-runtime/x.ts', '#gateway/queue/lease-queue.ts'],
  'a worker does not import lib/kube': ['worker-runtime/x.ts', '#kube/cache.ts'],
  'the product does not import tests': ['gateway/x.ts', '#test/until.ts'],
  'the product does not import scripts': ['deploy/standalone/x.ts', '#hack/image.ts'],
} as const;

const RIGHT = {
  'the operator imports lib/kube': ['operator/x.ts', '#kube/cache.ts'],
  'the gateway imports the CRDs': ['gateway/x.ts', '#crds/names.ts'],
  'standalone imports the operator': ['deploy/standalone/x.ts', '#operator/errors.ts'],
  'a file imports its neighbour': ['gateway/queue/x.ts', '../errors.ts'],
} as const;

test.each(Object.entries(WRONG))('an arrow that points the wrong way fails lint: %s', (_name, [file, specifier]) => {
  const { status, output } = lintImport(file, specifier);
  expect(output).toContain('arrow:');
  expect(status).not.toBe(0);
});

test.each(Object.entries(RIGHT))('an arrow that points the right way passes: %s', (_name, [file, specifier]) => {
  const { status, output } = lintImport(file, specifier);
  expect(output).not.toContain('arrow:');
  expect(status).toBe(0);
});
