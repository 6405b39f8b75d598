// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { silentLogger } from '#base/logger.ts';
import { createRegistry } from '#base/metrics.ts';
import { readPolicyDocument } from '../policy/policy-document.ts';
import { compilePolicy } from '../policy/policy.ts';
import type { Inventory } from '../slice/inventory.ts';
import { createDelivery } from './delivery.ts';
import type { Version } from './versions.ts';

function aWorld(policy = 'version: 1') {
  const registry = createRegistry('test', false);
  const lines: unknown[] = [];
  const state = {
    inventory: { synced: true, nodes: [{ name: 'a' }] } as unknown as Inventory,
    runtime: 'containerd://2.1.4',
    server: { major: 1, minor: 36 } as Version | undefined,
    policy,
    judged: 0,
  };
  const deliver = createDelivery({
    image: 'registry/penstock-vram:1',
    pullPolicy: 'IfNotPresent',
    inventory: () => state.inventory,
    node: (name) => {
      state.judged += 1;
      return { metadata: { name }, runtime: state.runtime, kubeletVersion: 'v1.36.3' };
    },
    server: () => state.server,
    policy: () => compilePolicy(readPolicyDocument(state.policy)).delivery,
    namespaceLabels: (namespace) => ({ strict: { level: 'strict' }, other: {} })[namespace],
    logger: { ...silentLogger, info: (fields) => void lines.push(fields['delivery']) },
    registry,
  });
  return { state, deliver, lines, registry };
}

describe('the way by which the library reaches pods', () => {
  test('is an image volume where everything has it', () => {
    expect(aWorld().deliver('other')).toEqual({
      kind: 'image',
      image: 'registry/penstock-vram:1',
      pullPolicy: 'IfNotPresent',
    });
  });

  test('follows nodes and server, judges only when they changed, and tells each change once', () => {
    const { state, deliver, lines } = aWorld();
    const kinds = [deliver('other')?.kind, deliver('other')?.kind];
    expect([kinds, state.judged]).toEqual([['image', 'image'], 1]);
    state.runtime = 'containerd://1.7.27';
    state.inventory = { ...state.inventory };
    expect(deliver('other')?.kind).toBe('init');
    state.runtime = 'containerd://2.1.4';
    state.inventory = { ...state.inventory };
    expect(deliver('other')?.kind).toBe('image');
    state.server = { major: 1, minor: 34 };
    expect(deliver('other')?.kind).toBe('init');
    expect(lines).toEqual(['image', 'init', 'image', 'init']);
  });

  test('is not known before the nodes are', () => {
    const { state, deliver } = aWorld();
    state.inventory = { synced: false, nodes: [] };
    expect(deliver('other')).toBeUndefined();
  });

  test('is an init container while the server’s version is unknown', () => {
    const { state, deliver } = aWorld();
    state.server = undefined;
    expect(deliver('other')?.kind).toBe('init');
  });

  test.each([
    ['version: 1\ndelivery: { strategy: init }', 'other', 'init'],
    ['version: 1\ndelivery: { strategy: image }', 'other', 'image'],
    [
      'version: 1\ndelivery: { namespaces: [{ namespaceSelector: { matchLabels: { level: strict } }, strategy: init }] }',
      'strict',
      'init',
    ],
    [
      'version: 1\ndelivery: { namespaces: [{ namespaceSelector: { matchLabels: { level: strict } }, strategy: init }] }',
      'other',
      'image',
    ],
    [
      'version: 1\ndelivery: { strategy: init, namespaces: [{ namespaceSelector: {}, strategy: auto }] }',
      'unknown',
      'image',
    ],
  ])('is what the policy says: %j in %s', (policy, namespace, want) => {
    expect(aWorld(policy).deliver(namespace)?.kind).toBe(want);
  });

  test('shows in a metric', async () => {
    const { state, registry } = aWorld();
    expect(await registry.metrics()).toContain('penstock_webhook_delivery{kind="image",component="test"} 1');
    state.policy = 'version: 1\ndelivery: { strategy: init }';
    expect(await registry.metrics()).toContain('penstock_webhook_delivery{kind="image",component="test"} 0');
  });
});
