// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { expect, test } from 'vitest';

const root = resolve(import.meta.dirname, '..');

const FORMS = {
  'import … from': (specifier: string) => `import { x } from '${specifier}';\nexport const y = x;\n`,
  'import type … from': (specifier: string) => `import type { X } from '${specifier}';\nexport type Y = X;\n`,
  'export … from': (specifier: string) => `export { x } from '${specifier}';\n`,
  'import()': (specifier: string) => `export const x: unknown = await import('${specifier}');\n`,
} as const;

/** Lints one file that holds one import, under the repository's own rules, in a tree of its own. */
function lintImport(
  file: string,
  specifier: string,
  form = FORMS['import … from'],
): { status: number | null; output: string } {
  const tree = mkdtempSync(join(tmpdir(), 'penstock-arrows-'));
  try {
    cpSync(join(root, '.oxlintrc.json'), join(tree, '.oxlintrc.json'));
    symlinkSync(join(root, 'node_modules'), join(tree, 'node_modules'));
    mkdirSync(dirname(join(tree, file)), { recursive: true });
    writeFileSync(join(tree, file), form(specifier));
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
  'the VRAM quota does not import the gateway': ['native/cli/x.ts', '#gateway/errors.ts'],
  'the VRAM quota does not reach the operator by a relative path': ['native/cli/x.ts', '../../operator/errors.ts'],
  'a worker does not import the VRAM quota': ['worker-runtime/x.ts', '#native/layout.ts'],
  'the product does not import tests': ['gateway/x.ts', '#test/until.ts'],
  'the product does not import scripts': ['deploy/standalone/x.ts', '#hack/image.ts'],
} as const;

const RIGHT = {
  'the operator imports lib/kube': ['operator/x.ts', '#kube/cache.ts'],
  'the gateway imports the CRDs': ['gateway/x.ts', '#crds/names.ts'],
  'standalone imports the operator': ['deploy/standalone/x.ts', '#operator/errors.ts'],
  'the VRAM quota imports lib/base': ['native/cli/x.ts', '#base/clock.ts'],
  'the VRAM quota imports itself': ['native/cli/x.ts', '#native/layout.ts'],
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

test.each(Object.entries(FORMS))('the arrows hold for %s', (_name, form) => {
  const [file, specifier] = WRONG['the operator does not import the gateway'];
  const wrong = lintImport(file, specifier, form);
  expect(wrong.output).toContain('arrow:');
  expect(wrong.status).not.toBe(0);
  const right = lintImport(...RIGHT['the operator imports lib/kube'], form);
  expect([right.status, right.output]).toEqual([0, expect.not.stringContaining('arrow:')]);
});
