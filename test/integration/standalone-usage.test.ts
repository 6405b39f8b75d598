// SPDX-License-Identifier: Apache-2.0
// What the command refuses: in a sentence that names the thing, without a stack, with exit code 2.
import { spawnSync } from 'node:child_process';
import { hash } from 'node:crypto';
import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { closeServer, listen } from '#base/ops-server.ts';
import { until } from '#test/until.ts';
import { ECHO, makeBench, manifest } from './standalone.harness.ts';
import type { Bench } from './standalone.harness.ts';

let bench: Bench;
const squatter = createServer();
let taken = 0;

beforeAll(async () => {
  taken = await listen(squatter, '127.0.0.1', 0);
});
afterAll(async () => await closeServer(squatter));

beforeEach(() => {
  bench = makeBench();
  bench.write('echo.ts', ECHO);
  bench.app('echo');
});
afterEach(async () => await bench.remove());

const write = (file: string, text: string): string => {
  writeFileSync(join(bench.dir, file), text);
  return join(bench.dir, file);
};

const serve = (...args: readonly string[]): string[] => [
  'standalone',
  '-f',
  bench.apps,
  '--data',
  bench.data,
  '--port',
  '0',
  ...args,
];

const image = { archetype: 'Handler', image: 'registry.example/ocr:1' };
const imageOnlySidecar = { archetype: 'Sidecar', image: 'registry.example/llm:1', server: { port: 9000 } };
const secretEnv = [{ name: 'KEY', valueFrom: { secretKeyRef: { name: 'keys', key: 'api' } } }];

describe('refused with exit code 2 and a sentence', () => {
  test.each<[what: string, args: () => readonly string[], says: RegExp]>([
    ['an unknown command', () => ['serve'], /unknown command "serve"; try penstock help/],
    ['an unknown flag', () => serve('--prot', '1'), /--prot/],
    ['a word too many', () => serve('apps'), /'apps'/],
    ['a flag without its value', () => ['standalone', '-f'], /-f/],
    ['nothing to serve', () => ['standalone'], /say with -f what to serve/],
    ['a path that is not there', () => ['standalone', '-f', '/nowhere/apps'], /-f \/nowhere\/apps: there is no such/],
    ['a port that is none', () => serve('--port', '70000'), /port: must be <= 65535/],
    ['a port that is no number', () => serve('--port', 'http'), /port: must be integer/],
    ['a level that is none', () => serve('--log-level', 'loud'), /logLevel: .*debug, info, warn/],
    ['an unknown setting', () => serve('--config', write('c.yaml', 'prot: 1\n')), /prot: unknown setting; known/],
    ['a config that is no YAML', () => serve('--config', write('c.yaml', 'a: [')), /c\.yaml: cannot be read/],
    ['a config that is no mapping', () => serve('--config', write('c.yaml', '- a')), /c\.yaml: must be a mapping/],
    ['a port in use', () => serve('--port', String(taken)), /another program uses this port.*\(port \d+\)/],
    ['an ops port in use', () => serve('--ops-port', String(taken)), /--ops-port: another program uses/],
    ['a host beyond loopback without keys', () => serve('--host', '0.0.0.0'), /0\.0\.0\.0 without API keys/],
    ['tenants that are not there', () => serve('--tenants', '/nowhere.yaml'), /--tenants .*no such file/],
    ['tenants that are none', () => serve('--tenants', write('t.yaml', 'tenants: 5')), /tenants: must be array/],
    ['data that is a file', () => serve('--data', write('f', '')), /--data .*where a folder is needed/],
    ['data that cannot be made', () => serve('--data', '/proc/penstock'), /--data \/proc\/penstock: /],
  ])('%s', async (_what, args, says) => {
    const { code, log } = await bench.refusal(...args());
    expect(log).toMatch(says);
    expect(log).not.toMatch(/^\s+at /m);
    expect(code).toBe(2);
  });

  test.each<[what: string, text: () => string, says: RegExp]>([
    ['an app with an image only', () => manifest('x', { worker: image }), /x\.yaml:1: spec\.worker\.handler: /],
    [
      'a sidecar with an image only',
      () => manifest('x', { worker: imageOnlySidecar }),
      /spec\.worker\.command: .*processes, not images/,
    ],
    [
      'a handler that is not there',
      () => manifest('x', { worker: { archetype: 'Handler', handler: 'missing.ts' } }),
      /spec\.worker\.handler: there is no such file in /,
    ],
    [
      'a Secret, which only a cluster has',
      () => manifest('x', { worker: { archetype: 'Handler', handler: 'echo.ts', env: secretEnv } }),
      /spec\.worker\.env\[0\]\.valueFrom: needs a cluster/,
    ],
    [
      'a misspelt field',
      () => manifest('x', { scaling: { maxUnit: 2 } }),
      /spec\.scaling\.maxUnit: .*did you mean spec\.scaling\.maxUnits\?/,
    ],
    ['more floor than cap', () => manifest('x', { scaling: { minUnits: 3, maxUnits: 2 } }), /spec\.scaling/],
    ['an app that is there twice', () => manifest('echo'), /metadata\.name: default\/echo is there twice/],
    ['broken YAML', () => 'spec: [', /x\.yaml:1: line 1: /],
    ['something else', () => 'apiVersion: v1\nkind: Pod\nmetadata: {name: x}\n', /kind: must be one of InferenceApp/],
    ['bytes that are no text', () => '\u0000\u0001\uFFFD: \u0002', /x\.yaml:1: /],
  ])('%s', async (_what, text, says) => {
    bench.write('x.yaml', text());
    const { code, log } = await bench.refusal(...serve());
    expect(log).toMatch(says);
    expect(log).not.toMatch(/^\s+at /m);
    expect(code).toBe(2);
  });

  test('a second process on the same data, while the first goes on', async () => {
    const first = await bench.start();
    const { code, log } = await bench.refusal(...serve());
    expect(log).toMatch(/--data .*queue\.db is used by another process/);
    expect(code).toBe(2);
    expect(await first.ended('echo', await first.submit('echo', 'still here'))).toMatchObject({ text: 'still here' });
  });

  test('another folder on the same data, whose requests it would remove; a moved one with the same apps is taken', async () => {
    const first = await bench.start();
    const ticket = await first.submit('echo', 'kept');
    await first.ended('echo', ticket);
    await first.signal('SIGTERM');
    const other = join(bench.dir, 'other');
    mkdirSync(other);
    const { code, log } = await bench.refusal('standalone', '-f', other, '--data', bench.data, '--port', '0');
    expect(log).toContain('holds the requests of default.echo');
    expect(code).toBe(2);
    writeFileSync(join(other, 'echo.yaml'), manifest('echo'));
    writeFileSync(join(other, 'echo.ts'), ECHO);
    const second = await bench.start('-f', other);
    expect(await second.ended('echo', ticket)).toMatchObject({ state: 'succeeded', text: 'kept' });
  });
});

describe('accepted', () => {
  test.each([['help'], ['--help'], ['standalone', '--help'], []])('a question for help: %s', async (...args) => {
    const { code, log } = await bench.refusal(...args);
    expect([code, log]).toEqual([0, expect.stringContaining('penstock standalone -f PATH')]);
  });

  test.each([['version'], ['--version']])('a question for the version: %s', async (word) => {
    const { code, log } = await bench.refusal(word);
    expect([code, log]).toEqual([0, expect.stringMatching(/^penstock \d+\.\d+\.\d+\n$/)]);
  });

  test('tenants with a key, beyond loopback too, and settings from a file', async () => {
    const sha256 = hash('sha256', 'open-sesame');
    const tenants = write('tenants.yaml', JSON.stringify({ tenants: [{ name: 'default', apiKeys: [{ sha256 }] }] }));
    const config = write('settings.yaml', JSON.stringify({ host: '0.0.0.0', tenants, logLevel: 'warn' }));
    const standalone = await bench.start('--config', config);
    const local = standalone.url.replace('0.0.0.0', '127.0.0.1');
    const send = (headers: Record<string, string>): Promise<Response> =>
      fetch(`${local}/v1/echo/infer`, { method: 'POST', body: 'hello', headers: { prefer: 'wait=20', ...headers } });
    expect((await send({})).status).toBe(401);
    expect((await send({ authorization: 'Bearer wrong' })).status).toBe(401);
    const answer = await send({ authorization: 'Bearer open-sesame' });
    expect([answer.status, await answer.text()]).toEqual([200, 'hello']);
    expect(standalone.log()).not.toContain('"level":"info"');
  });

  test('the entry that keys new prints, for the sample app by its bare name; taken out, it lets nobody in', async () => {
    const root = join(import.meta.dirname, '../..');
    cpSync(join(root, 'config/samples/handler-app.yaml'), join(bench.apps, 'sample.yaml'));
    cpSync(join(root, 'config/samples/handlers'), join(bench.apps, 'handlers'), { recursive: true });
    const made = spawnSync(join(root, 'deploy/standalone/penstock'), ['keys', 'new', '--tenant', 'gamma'], {
      env: { PATH: `${dirname(process.execPath)}:${process.env['PATH']}`, HOME: bench.dir },
      encoding: 'utf8',
    });
    const standalone = await bench.start('--tenants', write('tenants.yaml', made.stderr));
    const send = (headers: Record<string, string>): Promise<Response> =>
      standalone.post('word-count', 'one two two', { prefer: 'wait=20', ...headers });
    const authorization = `Bearer ${made.stdout.trimEnd()}`;
    const answer = await send({ authorization });
    expect([answer.status, await answer.json()]).toEqual([200, { words: 3, different: 2, characters: 11 }]);
    expect((await send({})).status).toBe(401);

    write('tenants.yaml', 'tenants: []\n');
    await until(async () => (await send({ authorization })).status === 401, { what: 'the end of the key' });
    expect((await send({})).status).toBe(401);
    expect((await fetch(`${standalone.url}/v1/word-count/dead-letters`)).status).toBe(401);
  });
});
