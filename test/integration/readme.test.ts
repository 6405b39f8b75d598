// SPDX-License-Identifier: Apache-2.0
// What the README says works, because its own lines are run here.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';
import { freePort } from '#test/servers/free-port.ts';
import { until } from '#test/until.ts';

const root = resolve(import.meta.dirname, '../..');
const readme = readFileSync(join(root, 'README.md'), 'utf8');

/** Commands and the output that follows each, of the console block behind a marker. */
function block(marker: string): { command: string; output: string }[] {
  const [, text = ''] =
    new RegExp(`<!-- readme-test: ${marker} -->\\n\`\`\`console\\n([\\s\\S]*?)\`\`\``).exec(readme) ?? [];
  return text
    .split(/^\$ /m)
    .filter(Boolean)
    .map((part) => {
      const [command = '', ...output] = part.trimEnd().split('\n');
      return { command, output: output.join('\n') };
    });
}

test('the commands for one machine serve a request, and it answers what the README shows', async () => {
  const [serve, ask] = block('standalone');
  if (serve === undefined || ask === undefined) throw new Error('the README has lost its standalone block');
  const data = mkdtempSync(join(tmpdir(), 'penstock-readme-'));
  const port = String(await freePort());
  const [program = '', ...args] = serve.command.replace('.data', data).replace('8080', port).split(' ');
  const server = spawn(join(root, program), args, { cwd: root, stdio: 'ignore' });
  const ended = new Promise((done) => server.once('exit', done));
  try {
    await until(
      () =>
        fetch(`http://127.0.0.1:${port}/version`).then(
          (answer) => answer.ok,
          () => false,
        ),
      {
        timeoutMs: 20_000,
        what: 'standalone serves',
      },
    );
    const answer = spawnSync('bash', ['-c', ask.command.replace('8080', port)], { encoding: 'utf8' });
    expect(answer.stdout).toBe(ask.output);
  } finally {
    server.kill('SIGTERM');
    await ended;
    rmSync(data, { recursive: true });
  }
});

test('every make target and every link that is named exists', () => {
  const makefile = readFileSync(join(root, 'Makefile'), 'utf8');
  const targets = [...readme.matchAll(/make ([a-z0-9-]+)/g)].map(([, target = '']) => target);
  expect(targets).toContain('demo');
  for (const target of targets) expect(makefile).toMatch(new RegExp(`^${target}:`, 'm'));
  const links = [...readme.matchAll(/\]\(([^)#]+)\)/g)].map(([, link = '']) => link);
  expect(links.filter((link) => !existsSync(join(root, link)))).toEqual([]);
  const paths = [...readme.matchAll(/(?:-[fk] )((?:config|deploy)\/[\w./-]+)/g)].map(([, path = '']) => path);
  expect(paths.filter((path) => !existsSync(join(root, path)))).toEqual([]);
});
