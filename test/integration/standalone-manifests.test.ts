// SPDX-License-Identifier: Apache-2.0
// Manifests that come, change, break and go while standalone serves.
import { mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { until } from '#test/until.ts';
import { ECHO, NO_LINGER, makeBench, manifest } from './standalone.harness.ts';
import type { Bench, Running } from './standalone.harness.ts';

let bench: Bench;

beforeEach(() => {
  bench = makeBench();
  bench.write('echo.ts', ECHO);
});

afterEach(async () => await bench.remove());

/** Waits for a file called `go` beside the manifests, so that the test decides when a request ends. */
const GATED = `
import { existsSync } from 'node:fs';
export const predict = (batch) => batch.map(async (request) => {
  while (!existsSync('go')) await new Promise((resolve) => setTimeout(resolve, 10));
  return request.text();
});
`;

const gated = { archetype: 'Handler', handler: 'gated.ts' };

/** Larger than what lives in a record: it becomes an object. */
const LARGE = 'x'.repeat(40_000);

const objects = (): readonly string[] =>
  readdirSync(join(bench.data, 'objects'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.parentPath.includes(uidOf('gated')))
    .map(({ name }) => name);

let uid = '';
/** uid of an app, remembered when the ledger has forgotten it. */
function uidOf(name: string): string {
  const ledger = JSON.parse(readFileSync(join(bench.data, 'apps.json'), 'utf8')) as {
    apps: { uid: string; manifest: { metadata: { name: string } } }[];
  };
  uid = ledger.apps.find(({ manifest: { metadata } }) => metadata.name === name)?.uid ?? uid;
  return uid;
}

const untilState = async (standalone: Running, app: string, ticket: string, state: string): Promise<void> => {
  await until(async () => (await standalone.record(app, ticket)).state === state, { what: `${state} ${ticket}` });
};

test('an app that is added is served, one that is changed is served as changed, by units of its new revision', async () => {
  const standalone = await bench.start();
  expect((await standalone.post('greet', 'Ada')).status).toBe(404);
  bench.write('greet.ts', 'export const predict = (b) => b.map((r) => `${process.env.GREETING} ${r.text()}`);');
  const worker = (value: string) => ({
    archetype: 'Handler',
    handler: 'greet.ts',
    env: [{ name: 'GREETING', value }],
  });
  // A warm unit, so that one of the old revision is there when the new one comes.
  const scaling = { minUnits: 1, maxUnits: 1 };
  bench.app('greet', { worker: worker('Hello'), scaling });
  await until(async () => (await standalone.post('greet', 'Ada')).status !== 404, { what: 'the app' });
  const first = await standalone.submit('greet', 'Bea');
  expect((await standalone.ended('greet', first)).text).toBe('Hello Bea');

  bench.app('greet', { worker: worker('Servus'), scaling });
  await until(() => standalone.log().match(/"msg":"unit started"/g)?.length === 2, { what: 'a unit of the change' });
  // Another revision is another answer: the repeat does not get the old one.
  expect((await standalone.ended('greet', await standalone.submit('greet', 'Bea'))).text).toBe('Servus Bea');
  expect((await standalone.ended('greet', first)).text).toBe('Hello Bea');
  await until(async () => (await standalone.units('default.greet')) === 1, { what: 'the old unit to leave' });
});

test('an edit that breaks a manifest is logged and changes nothing; its repair is taken', async () => {
  bench.app('echo', { scaling: NO_LINGER });
  const standalone = await bench.start();
  bench.write('echo.yaml', 'kind: InferenceApp\nspec: [');
  await until(() => standalone.said(/echo\.yaml:1: .*manifest refused; what it held before stays in force/), {
    what: 'the refusal in the log',
  });
  expect((await standalone.ended('echo', await standalone.submit('echo', 'as before'))).text).toBe('as before');
  const sidecar = { archetype: 'Sidecar', command: ['serve'], server: { port: 9000 } };
  const twoUnits = { scaling: { maxUnits: 2, ...NO_LINGER } };
  bench.write('echo.yaml', manifest('echo', { ...twoUnits, worker: sidecar }));
  await until(() => standalone.said(/spec\.worker\.archetype/), {
    what: 'the refusal of a change of what cannot change',
  });
  expect((await standalone.ended('echo', await standalone.submit('echo', 'still'))).text).toBe('still');
  bench.app('echo', { ...twoUnits, desiredState: 'Draining' });
  await until(async () => (await standalone.post('echo', 'new')).status === 409, { what: 'the repair' });
});

test('an app that is removed ends what it holds, cancels what waits, and leaves nothing behind', async () => {
  bench.write('gated.ts', GATED);
  bench.app('gated', { worker: gated, scaling: { concurrency: 1, maxUnits: 1 } });
  bench.app('echo', { scaling: NO_LINGER });
  const standalone = await bench.start();
  const running = await standalone.submit('gated', LARGE);
  await untilState(standalone, 'gated', running, 'leased');
  const queued = await standalone.submit('gated', `${LARGE}!`);
  expect(objects().length).toBeGreaterThanOrEqual(2);
  const old = uidOf('gated');

  const waiting = standalone.status('gated', queued, 30);
  rmSync(join(bench.apps, 'gated.yaml'));
  const cancelled = await waiting;
  expect([cancelled.status, cancelled.headers.get('penstock-state')]).toEqual([409, 'cancelled']);
  expect([404, 409]).toContain((await standalone.post('gated', 'late')).status);
  bench.write('go', '');
  await until(() => standalone.said('"app":"default.gated","msg":"app is gone'), { what: 'the end of the app' });
  expect(bench.processes()).toEqual([]);
  expect(objects()).toEqual([]);
  expect((await standalone.post('gated', 'later')).status).toBe(404);
  expect((await standalone.status('gated', running)).status).toBe(404);
  // Its neighbour has not noticed.
  expect((await standalone.ended('echo', await standalone.submit('echo', 'fine'))).text).toBe('fine');

  bench.app('gated', { worker: gated, scaling: NO_LINGER });
  await until(async () => (await standalone.post('gated', 'again')).status === 202, { what: 'the app, anew' });
  expect(uidOf('gated')).not.toBe(old);
  expect((await standalone.status('gated', running)).status).toBe(404);
  const again = await standalone.submit('gated', LARGE);
  expect(again).not.toBe(running);
  expect((await standalone.ended('gated', again)).text).toBe(LARGE);
});

test('an app that is paused keeps requests and has no unit, one that drains refuses new ones and ends the old', async () => {
  bench.write('gated.ts', GATED);
  bench.app('gated', { worker: gated, desiredState: 'Paused', scaling: NO_LINGER });
  const standalone = await bench.start();
  const ticket = await standalone.submit('gated', 'kept');
  await until(() => standalone.said('"phase":"Paused"'), { what: 'the phase' });
  expect(bench.processes()).toEqual([]);
  bench.app('gated', { worker: gated, desiredState: 'Ready', scaling: { concurrency: 1, ...NO_LINGER } });
  await untilState(standalone, 'gated', ticket, 'leased');
  const second = await standalone.submit('gated', 'queued');
  // Paused with a request under way: it is finished, the next one stays.
  bench.app('gated', { worker: gated, desiredState: 'Paused', scaling: { concurrency: 1, ...NO_LINGER } });
  await until(() => (standalone.log().match(/"phase":"Paused"/g)?.length ?? 0) >= 2, { what: 'the second pause' });
  bench.write('go', '');
  expect((await standalone.ended('gated', ticket)).text).toBe('kept');
  await until(() => bench.processes().length === 0, { what: 'the unit to leave' });
  expect((await standalone.record('gated', second)).state).toBe('queued');

  bench.app('gated', { worker: gated, desiredState: 'Draining', scaling: { concurrency: 1, ...NO_LINGER } });
  expect((await standalone.ended('gated', second)).text).toBe('queued');
  const refused = await standalone.post('gated', 'late');
  expect([refused.status, await refused.text()]).toEqual([409, expect.stringContaining('app-draining')]);
  await until(() => bench.processes().length === 0, { what: 'the unit to leave' });
});

test('a folder of manifests that is replaced as a whole is read again', async () => {
  bench.app('echo', { scaling: NO_LINGER });
  const standalone = await bench.start();
  rmSync(bench.apps, { recursive: true });
  await until(() => standalone.said('apps cannot be read; what was read before stays in force'), {
    what: 'the notice',
  });
  // As a checkout does: the same name, another folder.
  mkdirSync(`${bench.apps}.new`);
  writeFileSync(join(`${bench.apps}.new`, 'echo.ts'), ECHO);
  writeFileSync(join(`${bench.apps}.new`, 'echo.yaml'), manifest('echo', { scaling: NO_LINGER }));
  renameSync(`${bench.apps}.new`, bench.apps);
  bench.app('second', { scaling: NO_LINGER });
  await until(async () => (await standalone.post('second', 'x')).status === 202, { what: 'the second app' });
  expect((await standalone.ended('echo', await standalone.submit('echo', 'y'))).text).toBe('y');
});
