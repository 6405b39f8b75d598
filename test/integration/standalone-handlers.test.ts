// SPDX-License-Identifier: Apache-2.0
// Handlers that do not work: their app says why, and nobody else notices.
import { afterEach, beforeEach, expect, test } from 'vitest';
import { until } from '#test/until.ts';
import { ECHO, NO_LINGER, makeBench } from './standalone.harness.ts';
import type { Bench } from './standalone.harness.ts';

let bench: Bench;

beforeEach(() => {
  bench = makeBench();
  bench.write('echo.ts', ECHO);
  bench.app('echo', { scaling: NO_LINGER });
});

afterEach(async () => await bench.remove());

const request = { timeoutSeconds: 2, retry: { maxAttempts: 1 } };

/** An app called `name` with a handler file of the same name. */
const app = (name: string, code: string): void => {
  bench.write(`${name}.ts`, code);
  bench.app(name, { worker: { archetype: 'Handler', handler: `${name}.ts` }, request, scaling: NO_LINGER });
};

test('handlers that do not load hold their apps with the reason; requests wait for the repair', async () => {
  const cases = [
    ['imports', 'import "no-such-package"; export const predict = (b) => b;', 'no-such-package'],
    ['syntax', 'export const predict = (b) => {{', 'SyntaxError'],
    ['unnamed', 'export const predit = (b) => b;', 'does not export a function predict'],
    ['throws', 'export const load = () => { throw new Error("no GPU"); }; export const predict = (b) => b;', 'no GPU'],
  ] as const;
  for (const [name, code] of cases) app(name, code);
  const standalone = await bench.start();
  const tickets = new Map<string, string>();
  for (const [name] of cases) tickets.set(name, await standalone.submit(name, 'waits'));
  for (const [name, , reason] of cases) {
    const held = new RegExp(`"app":"default\\.${name}","phase":"Held".*in a row failed.*${reason}`);
    await until(() => standalone.said(held), { what: `the reason of ${name}`, timeoutMs: 40_000 });
    expect((await standalone.record(name, tickets.get(name) ?? '')).state).toBe('queued');
  }
  // A sentence, not a stack.
  expect(standalone.said(/"phase":"Held".*\\n +at /)).toBe(false);
  expect((await standalone.ended('echo', await standalone.submit('echo', 'fine'))).text).toBe('fine');
  for (const [name] of cases) bench.write(`${name}.ts`, ECHO);
  for (const [name, ticket] of tickets) expect((await standalone.ended(name, ticket)).text).toBe('waits');
});

test('handlers that break on a request fail that request with the cause and serve the next one', async () => {
  const cases = [
    ['exits', '() => process.exit(7)', /ended with code 7/],
    ['late', '() => { setTimeout(() => { throw new Error("too late"); }); return new Promise(() => {}); }', /too late/],
    ['spins', '() => { for (;;); }', /longer than timeoutSeconds/],
  ] as const;
  for (const [name, code] of cases) {
    app(name, `const bad = ${code};\nexport const predict = (b) => (b[0].text() === 'good' ? ['good'] : bad());`);
  }
  const standalone = await bench.start();
  await Promise.all(
    cases.map(async ([name, , cause]) => {
      const bad = await standalone.ended(name, await standalone.submit(name, 'bad'));
      expect([bad.status, bad.state]).toEqual([500, 'failed']);
      expect(bad.text).toMatch(cause);
      expect((await standalone.ended(name, await standalone.submit(name, 'good'))).text).toBe('good');
    }),
  );
});
