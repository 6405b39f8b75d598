// SPDX-License-Identifier: Apache-2.0
// docs/gpu-sharing-cluster.md as an admin follows it: its files are written and its commands run, in order, in one folder.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { CUDA_IMAGE } from './cuda-image.ts';
import type { Installation } from './installation.ts';

const root = join(import.meta.dirname, '../..');
const page = readFileSync(join(root, 'docs/gpu-sharing-cluster.md'), 'utf8');
const COMMAND_MS = 120_000;
/** The image of the page's reader. */
const THEIRS = '      image: registry.example/notebook:1';
const OURS = [
  `      image: ${CUDA_IMAGE}`,
  '      imagePullPolicy: Never',
  '      stdin: true',
  '      command: [vram-use, --hold]',
].join('\n');

interface Step {
  readonly language: string;
  readonly text: string;
}

const steps: Step[] = [...page.matchAll(/^```(sh|yaml)\n([\s\S]*?)^```$/gm)].map(([, language = '', text = '']) => ({
  language,
  text,
}));
const commands = steps.filter(({ language }) => language === 'sh');

/** A line that says `# exits N` has to; every other one has to succeed. */
function asScript(block: string): string {
  const lines = block.split('\n').map((line) => {
    const [, command, status] = /^(.*?) +# exits ([0-9]+)$/.exec(line) ?? [];
    return command === undefined ? line : `status=0; ${command} || status=$?; [ $status = ${status} ]`;
  });
  return ['set -eux -o pipefail', ...lines].join('\n');
}

export function gpuDocsSuite(penstock: () => Installation): void {
  describe('docs/gpu-sharing-cluster.md', () => {
    let folder: string;
    beforeAll(() => {
      folder = join(penstock().cluster.state, 'docs');
      mkdirSync(folder);
      for (const name of ['config', 'deploy']) symlinkSync(join(root, name), join(folder, name));
      for (const { language, text } of steps) {
        const [, name] = /^# ([a-z-]+\.yaml)\n/.exec(text) ?? [];
        if (language === 'yaml' && name !== undefined) writeFileSync(join(folder, name), text.replace(THEIRS, OURS));
      }
    });

    test('has commands, and a file for each that they name', () => {
      expect(commands.length).toBeGreaterThan(8);
      expect(page).toContain(THEIRS);
    });

    test.each(commands.map(({ text }) => [text.trim().split('\n').join('; '), text] as const))('%s', (_, text) => {
      const { cluster } = penstock();
      const run = spawnSync('bash', ['-c', asScript(text)], {
        cwd: folder,
        env: {
          ...process.env,
          KUBECONFIG: cluster.kubeconfig,
          PATH: [dirname(cluster.kubectl), process.env['PATH']].join(delimiter),
        },
        encoding: 'utf8',
        timeout: COMMAND_MS,
      });
      // The trace says at which line it ended.
      expect(run.status === 0 ? '' : `${run.stdout}\n${run.stderr}`).toBe('');
      expect(run.status).toBe(0);
    });
  });
}
