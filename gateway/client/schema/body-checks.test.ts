// SPDX-License-Identifier: Apache-2.0
import { afterEach, beforeEach, expect, test } from 'vitest';
import { systemClock } from '#base/clock.ts';
import { silentLogger } from '#base/logger.ts';
import { ProblemError } from '#base/problem.ts';
import type { ServedApp } from '../../apps/app-source.ts';
import { createBodyChecks } from './body-checks.ts';
import type { BodyChecks } from './body-checks.ts';
import { HELD_BYTES_MAX, WAITING_PER_SCHEMA } from './limits.ts';

/** Backtracks for longer than the universe lasts on 50 a and a b. */
const CATASTROPHIC = { type: 'object', properties: { text: { type: 'string', pattern: '^(a+)+$' } } };
const HANGS = JSON.stringify({ text: `${'a'.repeat(50)}b` });
/** Long enough for a machine that does other things, too: what hangs, hangs. */
const LIMITS = { loadMs: 20_000, checkMs: 3_000 };

/** Threads start and are ended: seconds on a machine that does other things, too. */
const PATIENCE = { timeout: 60_000 };

let checks: BodyChecks;
let seen: string[];

beforeEach(() => {
  seen = [];
  const metrics = { checked: (verdict: string) => void seen.push(verdict) };
  checks = createBodyChecks({ clock: systemClock, logger: silentLogger, metrics, limits: LIMITS });
});

afterEach(async () => {
  await checks.stop();
});

function app(schema?: Record<string, unknown>, uid = 'uid'): ServedApp {
  const request = schema === undefined ? {} : { schema };
  return {
    uid,
    namespace: 'ns',
    name: 'app',
    revision: 'r',
    deleting: false,
    spec: { request },
  } as unknown as ServedApp;
}

async function outcome(served: ServedApp, body: string): Promise<unknown> {
  try {
    await checks.of(served)?.run(body);
    return 'fits';
  } catch (err) {
    return err instanceof ProblemError ? [err.status, err.code] : err;
  }
}

test('an app without a schema has no check', () => {
  expect(checks.of(app())).toBeUndefined();
});

test('bodies are judged each for itself, those of one turn in one message', PATIENCE, async () => {
  const served = app({ type: 'object', required: ['a'] });
  const bodies = Array.from({ length: 300 }, (_, i) => (i % 3 === 0 ? '{}' : `{"a":${i}}`));
  const outcomes = await Promise.all(bodies.map((body) => outcome(served, body)));
  expect(outcomes).toEqual(bodies.map((body) => (body === '{}' ? [422, 'body-invalid'] : 'fits')));
  expect(seen.filter((verdict) => verdict === 'fits')).toHaveLength(200);
});

test(
  'a body that hangs its check is refused alone; what waited with it and other apps are served',
  PATIENCE,
  async () => {
    const hanging = app(CATASTROPHIC, 'hanging');
    const other = app({ required: ['a'] }, 'other');
    expect(await outcome(hanging, '{"text":"aaa"}')).toBe('fits');
    const bodies = ['{"text":"aa"}', HANGS, '{"text":"a"}', '{"text":"b"}'];
    const [outcomes, beside] = await Promise.all([
      Promise.all(bodies.map((body) => outcome(hanging, body))),
      outcome(other, '{"a":1}'),
    ]);
    expect(outcomes).toEqual(['fits', [422, 'check-overrun'], 'fits', [422, 'body-invalid']]);
    expect(beside).toBe('fits');
    expect(await outcome(hanging, '{"text":"a"}')).toBe('fits');
  },
);

test('an unusable schema is a conflict with its app, known from then on before a body is read', PATIENCE, async () => {
  const broken = app({ pattern: '(' });
  expect(await outcome(broken, '{}')).toEqual([409, 'app-misconfigured']);
  expect(() => checks.of(broken)).toThrow(/Invalid regular expression/);
  expect(() => checks.of(app({ $ref: 'https://example.com/x' }))).toThrow(/points out of the schema/);
});

test(
  'a body that takes all memory of its thread is refused, and the next one is checked by another thread',
  PATIENCE,
  async () => {
    const small = createBodyChecks({
      clock: systemClock,
      logger: silentLogger,
      metrics: { checked: () => {} },
      limits: { ...LIMITS, checkMs: 60_000, heapMb: 24 },
    });
    try {
      const check = small.of(app({ items: { type: 'object' } }));
      await check?.run('[{}]');
      // A million objects of some 30 bytes each, in 24 MiB.
      await expect(check?.run(`[${'{},'.repeat(1_000_000)}{}]`)).rejects.toMatchObject({ code: 'check-overrun' });
      await check?.run('[{}]');
    } finally {
      await small.stop();
    }
  },
);

test('places and bytes are bounded', PATIENCE, async () => {
  const served = app(CATASTROPHIC);
  const answers = Array.from({ length: WAITING_PER_SCHEMA + 1 }, () => outcome(served, '{}'));
  expect(await answers.at(-1)).toEqual([503, 'overloaded']);
  expect(new Set(await Promise.all(answers.slice(0, -1)))).toEqual(new Set(['fits']));
  const check = checks.of(served);
  check?.hold(HELD_BYTES_MAX);
  expect(() => check?.hold(1)).toThrow(/too many bodies/);
  check?.hold(-HELD_BYTES_MAX);
  check?.hold(1);
});

test('what waits when the gateway stops is answered', PATIENCE, async () => {
  const pending = outcome(app({}), '{}');
  await checks.stop();
  expect(await pending).toEqual([503, 'overloaded']);
});
