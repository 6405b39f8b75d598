// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { canonicalJson } from './canonical.ts';
import type { InferenceApp } from './inference-app.gen.ts';
import { revisionOf } from './revision.ts';
import { validateInferenceApp } from './validate.ts';

function app(spec: Record<string, unknown>): InferenceApp {
  const verdict = validateInferenceApp({
    apiVersion: 'penstock.dev/v1alpha1',
    kind: 'InferenceApp',
    metadata: { name: 'app' },
    spec,
  });
  if (!verdict.ok) throw new Error(JSON.stringify(verdict.errors));
  return verdict.value;
}

const handler = {
  archetype: 'Handler',
  image: 'a:1',
  handler: 'a.ts',
  env: [{ name: 'A' }, { name: 'B', value: '1' }],
};
const base = revisionOf(app({ worker: handler }));
const sidecar = { archetype: 'Sidecar', image: 'a:1', command: ['x'], args: ['y'], server: { port: 80 } };
const sidecarBase = revisionOf(app({ worker: sidecar }));
const placed = (...placements: unknown[]): string => revisionOf(app({ worker: handler, placements }));

test('is 16 hex digits and stays the same over releases', () => {
  expect(base).toMatch(/^[0-9a-f]{16}$/);
  // Running units carry it: a new value here re-keys every queue at an upgrade.
  expect(base).toBe('e5064d10ea56938b');
});

describe('is not altered by', () => {
  test.each<[string, Record<string, unknown>]>([
    ['scaling', { worker: handler, scaling: { minUnits: 3, maxUnits: 9 } }],
    ['the order of keys', { worker: Object.fromEntries(Object.entries(handler).toReversed()) }],
    ['the order of env', { worker: { ...handler, env: handler.env.toReversed() } }],
    ['instances and batch size', { worker: { ...handler, instances: 4, batchSize: 2 } }],
    ['resources, request and desired state', { worker: handler, desiredState: 'Paused', resources: { cpu: 1 } }],
    ['a placement without overrides', { worker: handler, placements: [{ name: 'a' }, { name: 'b', overrides: {} }] }],
    ['null', { worker: { ...handler, revision: null, podTemplate: null } }],
    ['a slice of the GPU', { worker: handler, resources: { gpu: { slice: { mode: 'Shared', slots: 2 } } } }],
  ])('%s', (_name, spec) => {
    expect(revisionOf(app(spec))).toBe(base);
  });

  test('a default that is written out', () => {
    const server = { port: 80, path: '/', method: 'POST', healthPath: '/healthz', readyTimeoutSeconds: 600 };
    expect(revisionOf(app({ worker: { ...sidecar, server } }))).toBe(sidecarBase);
  });

  test('the order of placements', () => {
    const a = { name: 'a', overrides: { image: 'b' } };
    const b = { name: 'b', overrides: { instances: 2 } };
    expect(placed(a, b)).toBe(placed(b, a));
  });
});

describe('is altered by', () => {
  test.each<[string, Record<string, unknown>]>([
    ['the image', { ...handler, image: 'a:2' }],
    ['the handler', { ...handler, handler: 'b.ts' }],
    ['a value in env', { ...handler, env: [{ name: 'A' }, { name: 'B', value: '2' }] }],
    ['envFrom', { ...handler, envFrom: [{ secretRef: { name: 's' } }] }],
    ['worker.revision', { ...handler, revision: '2' }],
    ['a pod template', { ...handler, podTemplate: { spec: { hostname: 'a' } } }],
  ])('%s', (_name, worker) => {
    expect(revisionOf(app({ worker }))).not.toBe(base);
  });

  test.each<[string, Record<string, unknown>]>([
    ['the command', { ...sidecar, command: ['z'] }],
    ['the order of arguments', { ...sidecar, command: ['y'], args: ['x'] }],
    ['the server', { ...sidecar, server: { port: 81 } }],
  ])('%s', (_name, worker) => {
    expect(revisionOf(app({ worker }))).not.toBe(sidecarBase);
  });

  test('an override, and by which placement has it', () => {
    const one = placed({ name: 'a', overrides: { image: 'b' } });
    const other = placed({ name: 'c', overrides: { image: 'b' } });
    expect(new Set([base, one, other]).size).toBe(3);
  });
});

test('canonical JSON sorts keys by code unit, keeps lists and drops what is absent', () => {
  expect(canonicalJson({ b: [2, 1, null], a: undefined, Z: null, é: 'x', B: { d: 1, c: true } })).toBe(
    '{"B":{"c":true,"d":1},"b":[2,1,null],"é":"x"}',
  );
});
