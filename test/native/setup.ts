// SPDX-License-Identifier: Apache-2.0
// Builds what the tests run. Says what to install when a compiler is missing, rather than skip.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** @param project whose `env` names the build, where it is one of a sanitizer */
export default function setup(project?: { readonly config: { readonly env?: Partial<Record<string, string>> } }): void {
  const variant = `VARIANT=${project?.config.env?.['PENSTOCK_NATIVE_VARIANT'] ?? ''}`;
  const build = spawnSync('make', ['--no-print-directory', '-s', '-j2', '-C', 'native', 'all', variant], {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 16 * 1024 * 1024,
  });
  if (build.status === 0) return;
  const said = build.error?.message ?? `${build.stdout}${build.stderr}`;
  throw new Error(
    `the native programs do not build (compilers are brought by: hack/ensure native)\n${said.slice(-4000)}`,
  );
}
