// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test, vi } from 'vitest';
import { createFakeClock } from '#base/fake-clock.ts';
import { silentLogger } from '#base/logger.ts';
import type { Logger } from '#base/logger.ts';
import { createRegistry } from '#base/metrics.ts';
import type { Placement } from '#crds/placement.gen.ts';
import { ObjectCache } from '#kube/cache.ts';
import { createKubeMetrics } from '#kube/kube-metrics.ts';
import { createNodeInventory } from './inventory.ts';
import type { NodeInventory } from './inventory.ts';
import { toNodeFacts } from './node-facts.ts';
import type { NodeFacts } from './node-facts.ts';
import type { NodeSettings } from './node-view.ts';

interface World {
  readonly nodes: ObjectCache<NodeFacts>;
  readonly placements: ObjectCache<Placement>;
  readonly inventory: NodeInventory;
  readonly lines: string[];
  settings(settings: NodeSettings): void;
  metric(name: string): Promise<Record<string, number>>;
}

let version = 0;

function aNode(name: string, labels: Record<string, string> = {}, heartbeat = ''): NodeFacts {
  const gpu = { 'nvidia.com/gpu.count': '1', 'nvidia.com/gpu.memory': '81559', 'nvidia.com/gpu.replicas': '4' };
  const resources = { cpu: '8', 'nvidia.com/gpu.shared': '4' };
  return toNodeFacts({
    metadata: {
      name,
      uid: name,
      resourceVersion: String(++version),
      labels: { ...gpu, 'nvidia.com/gpu.product': 'H100', ...labels },
    },
    status: { capacity: resources, allocatable: resources, conditions: [heartbeat] },
  } as never);
}

function aPlacement(name: string, sharing: object, status = ''): Placement {
  const metadata = { name, uid: name, resourceVersion: String(++version) };
  return { metadata, spec: { kubernetes: { cluster: 'in-cluster' }, sharing }, status: { reason: status } } as never;
}

function aWorld(): World {
  const registry = createRegistry('test', false);
  const options = { name: 'x', logger: silentLogger, metrics: createKubeMetrics(registry) };
  const nodes = new ObjectCache<NodeFacts>(options);
  const placements = new ObjectCache<Placement>(options);
  let settings: NodeSettings = { gpuResource: 'nvidia.com/gpu', sharedResources: [] };
  let listener = (): void => {};
  const lines: string[] = [];
  const logger: Logger = {
    ...silentLogger,
    warn: ({ node, reason }) => void lines.push(`${String(node)} ${String(reason)}`),
    info: ({ node }) => void lines.push(`${String(node)} fits`),
  };
  const inventory = createNodeInventory({
    nodes,
    placements,
    settings: { current: () => settings, synced: () => true, onChange: (heard) => ((listener = heard), () => {}) },
    clock: createFakeClock(),
    logger,
    registry,
  });
  return {
    nodes,
    placements,
    inventory,
    lines,
    settings: (changed) => {
      settings = changed;
      listener();
    },
    metric: async (name) => {
      const found = await registry.getSingleMetric(name)?.get();
      return Object.fromEntries(
        (found?.values ?? [])
          .filter(({ value }) => value > 0)
          .map(({ labels, value }) => [
            Object.values(labels)
              .filter((it) => it !== 'test')
              .join(),
            value,
          ]),
      );
    },
  };
}

function synced(...listed: NodeFacts[]): World {
  const world = aWorld();
  world.nodes.replace(listed);
  world.placements.replace([]);
  return world;
}

const names = ({ inventory }: World): string[] => inventory.current().nodes.map(({ name }) => name);
const slots = ({ inventory }: World): number[] =>
  inventory.current().nodes.flatMap(({ shared }) => shared.map(({ slotsPerGPU }) => slotsPerGPU));

describe('the inventory', () => {
  test('knows nothing before nodes and Placements have been listed', () => {
    const world = aWorld();
    expect(world.inventory.current()).toEqual({ synced: false, nodes: [] });
    world.nodes.replace([aNode('a')]);
    expect(world.inventory.current().synced).toBe(false);
    world.placements.replace([]);
    expect([world.inventory.current().synced, names(world)]).toEqual([true, ['a']]);
  });

  test('is the same object while only hearts beat', () => {
    const world = synced(aNode('a'), aNode('b'));
    const before = world.inventory.current();
    for (let i = 0; i < 100; i++) world.nodes.put(aNode('a', {}, String(i)));
    expect(world.inventory.current()).toBe(before);
  });

  test('follows nodes that come, change and go; a snapshot handed out does not change', () => {
    const world = synced(aNode('a'));
    const before = world.inventory.current();
    world.nodes.put(aNode('b'));
    world.nodes.put(aNode('a', { 'nvidia.com/gpu.replicas': '2' }));
    // Two slots are fewer than the four units on one card: the labels do not fit yet.
    expect([names(world), slots(world)]).toEqual([['a', 'b'], [4]]);
    world.nodes.remove(aNode('a'));
    expect(names(world)).toEqual(['b']);
    expect(before.nodes.map(({ name }) => name)).toEqual(['a']);
  });

  test('a node that loses its GPUs leaves', () => {
    const world = synced(aNode('a'), aNode('b'));
    names(world);
    world.nodes.put(toNodeFacts({ metadata: { name: 'a', uid: 'a', resourceVersion: 'x', labels: {} } }));
    expect(names(world)).toEqual(['b']);
  });

  test('follows Placements, but not their status', () => {
    const world = synced(aNode('a'));
    expect(slots(world)).toEqual([4]);
    world.placements.put(aPlacement('p', { mode: 'TimeSlicing', slotsPerGPU: 8, memoryPerSlot: '4Gi' }));
    expect(slots(world)).toEqual([8]);
    expect(world.inventory.current().nodes[0]?.shared[0]?.memoryPerSlot).toBe(4 * 2 ** 30);
    const before = world.inventory.current();
    world.placements.put(aPlacement('p', { mode: 'TimeSlicing', slotsPerGPU: 8, memoryPerSlot: '4Gi' }, 'Open'));
    expect(world.inventory.current()).toBe(before);
    world.placements.replace([]);
    expect(slots(world)).toEqual([4]);
  });

  test('follows the settings, but not edits of something else in the policy', () => {
    const world = synced(aNode('a'));
    const before = world.inventory.current();
    world.settings({ gpuResource: 'nvidia.com/gpu', sharedResources: [] });
    expect(world.inventory.current()).toBe(before);
    world.settings({
      gpuResource: 'nvidia.com/gpu',
      sharedResources: [{ name: 'nvidia.com/gpu.shared', slotsPerGPU: 16 }],
    });
    expect(slots(world)).toEqual([16]);
  });

  test('tells of findings once, in the log and in a metric, and when they are mended', async () => {
    const world = synced(aNode('a', { 'nvidia.com/gpu.memory': 'much' }), aNode('b'));
    names(world);
    world.nodes.put(aNode('a', { 'nvidia.com/gpu.memory': 'much', other: 'label' }));
    names(world);
    expect(world.lines).toEqual(['a BadLabel', 'a MemoryUnknown']);
    expect(await world.metric('penstock_webhook_node_findings')).toEqual({ BadLabel: 1, MemoryUnknown: 1 });
    expect(await world.metric('penstock_webhook_nodes')).toEqual({ gpu: 2, shared: 1 });
    world.nodes.put(aNode('a'));
    expect(await world.metric('penstock_webhook_node_findings')).toEqual({});
    expect(world.lines.at(-1)).toBe('a fits');
  });

  test('one mistake on a thousand nodes is counted, not a thousand lines', async () => {
    const world = synced(
      ...Array.from({ length: 1000 }, (_, i) => aNode(`n${i}`, { 'nvidia.com/gpu.memory': 'much' })),
    );
    await vi.waitFor(() => expect(names(world)).toHaveLength(1000));
    expect(world.lines.length).toBeLessThanOrEqual(20);
    expect(await world.metric('penstock_webhook_node_findings')).toMatchObject({ BadLabel: 1000 });
  });

  test('of a large cluster is assessed in turns after an edit; until the last one what was there before holds', async () => {
    const world = synced(...Array.from({ length: 2000 }, (_, i) => aNode(`n${i}`)));
    await vi.waitFor(() => expect(names(world)).toHaveLength(2000));
    const before = world.inventory.current();
    world.placements.put(aPlacement('p', { mode: 'TimeSlicing', slotsPerGPU: 8 }));
    expect(world.inventory.current()).toBe(before);
    // What changes meanwhile is not shown earlier than the rest, nor lost.
    world.nodes.put(aNode('late'));
    world.nodes.remove(aNode('n7'));
    expect(world.inventory.current()).toBe(before);
    await vi.waitFor(() => expect(world.inventory.current()).not.toBe(before));
    expect([names(world).length, names(world).includes('late'), names(world).includes('n7')]).toEqual([
      2000,
      true,
      false,
    ]);
    expect(new Set(slots(world))).toEqual(new Set([8]));
  });

  test('thousands of nodes and hundreds of Placements are a matter of a moment', async () => {
    const world = synced(...Array.from({ length: 4000 }, (_, i) => aNode(`n${i}`, { pool: `p${i % 500}` })));
    await vi.waitFor(() => expect(names(world)).toHaveLength(4000));
    const slow: number[] = [];
    for (let i = 0; i < 500; i++) {
      const placement = aPlacement(`p${i}`, { mode: 'TimeSlicing', slotsPerGPU: 8 });
      world.placements.put({
        ...placement,
        spec: { ...placement.spec, kubernetes: { cluster: 'in-cluster', nodeSelectors: [{ pool: `p${i}` }] } },
      });
    }
    await vi.waitFor(
      () => {
        const since = performance.now();
        const found = slots(world);
        slow.push(performance.now() - since);
        expect(new Set(found)).toEqual(new Set([8]));
      },
      { interval: 1, timeout: 20_000 },
    );
    // A turn takes some ten; with room for a machine that does other things, and far below the seconds that all took at once.
    expect(Math.max(...slow)).toBeLessThan(500);
  });

  test('stopped, it follows nothing', () => {
    const world = synced(aNode('a'));
    const before = world.inventory.current();
    world.inventory.stop();
    world.nodes.put(aNode('b'));
    expect(world.inventory.current()).toBe(before);
  });
});
