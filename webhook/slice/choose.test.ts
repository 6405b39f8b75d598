// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { choose } from './choose.ts';
import type { SliceSettings } from './context.ts';
import type { Ask } from './fit.ts';
import { GIB, gpuNode, settings, SHARED } from './fixtures.ts';
import type { GpuNode, SharedOffer } from './inventory.ts';

const ratio = (slots: number, gpus = 1): Ask => {
  return { container: 'main', phase: 'app', gpus, size: { kind: 'ratio', ratio: slots, from: 'a test' } };
};
const vram = (gib: number, gpus = 1): Ask => {
  return { container: 'main', phase: 'app', gpus, size: { kind: 'vram', bytes: gib * GIB, from: 'a test' } };
};
const mig = (profile: string, gib: number, slotsPerGPU: number): SharedOffer => ({
  resource: `nvidia.com/mig-${profile}`,
  mode: 'MIG',
  slotsPerGPU,
  memoryPerSlot: gib * GIB,
  allocatable: slotsPerGPU,
  refusesMultiple: true,
  onOneCard: true,
});

/** `units × resource, quota GiB [requirements]`, or why not. */
function outcome(asks: readonly Ask[], nodes: readonly GpuNode[], changed: Partial<SliceSettings> = {}): string {
  const choice = choose(asks, nodes, { ...settings, ...changed });
  if (choice.kind === 'whole') return `${choice.reason}: ${choice.why}`;
  const grants = choice.grants.map(({ units, resource, quota }) => `${units} × ${resource}, ${quota / GIB}`);
  const rules = choice.requirements.map(({ key, operator, values }) => ` [${key} ${operator} ${values?.join()}]`);
  return grants.join(' + ') + rules.join('');
}

const big = gpuNode('big');
const small = gpuNode('small', { cardMemory: 24 * GIB });
const eight = gpuNode('eight', { offer: { slotsPerGPU: 8 } });
const two = gpuNode('two', { cards: 2 });
const packing = gpuNode('packing', { cards: 2, offer: { onOneCard: true } });
const single = gpuNode('single', { offer: { refusesMultiple: true } });

describe('a ratio', () => {
  it.each<[string, Ask, GpuNode[], string]>([
    ['is that many slots of the card', ratio(2), [big], '2 × nvidia.com/gpu.shared, 40 [nvidia.com/gpu.count In 1]'],
    ['is of the smallest card', ratio(2), [big, small], '2 × nvidia.com/gpu.shared, 12 [nvidia.com/gpu.count In 1]'],
    [
      'is of the smallest part where nodes are split otherwise',
      ratio(2),
      [big, eight],
      '2 × nvidia.com/gpu.shared, 20 [nvidia.com/gpu.count In 1]',
    ],
    ['of all slots is a whole GPU', ratio(4), [big], 'no-node: main: 4 of 4 slots are a whole GPU of node big'],
    [
      'of more than all slots, too',
      ratio(9),
      [eight],
      'no-node: main: 9 slots are more than a whole GPU of node eight, which has 8 slots',
    ],
    [
      'of one slot on a card with one',
      ratio(1),
      [gpuNode('one', { offer: { slotsPerGPU: 1 } })],
      'no-node: main: 1 of 1 slots are a whole GPU of node one',
    ],
    [
      'goes by nodes that can give it, and to no other',
      ratio(4),
      [gpuNode('four', { cards: 2 }), eight],
      '4 × nvidia.com/gpu.shared, 40 [nvidia.com/gpu.count In 1]',
    ],
    [
      'keeps off by host name where no other label tells',
      ratio(4),
      [big, eight],
      '4 × nvidia.com/gpu.shared, 40 [nvidia.com/gpu.count In 1] [kubernetes.io/hostname NotIn big]',
    ],
    ['of one is served by a node with several cards', ratio(1), [two], '1 × nvidia.com/gpu.shared, 20'],
    [
      'of two is not: they need not be of one card',
      ratio(2),
      [two],
      'no-node: main: the 2 slots need not be of one GPU on node two, which has 2 GPUs',
    ],
    ['of two is, by a plugin that packs', ratio(2), [packing], '2 × nvidia.com/gpu.shared, 40'],
    [
      'of two goes to nodes with one card',
      ratio(2),
      [two, big],
      '2 × nvidia.com/gpu.shared, 40 [nvidia.com/gpu.count In 1]',
    ],
    ['of one where the plugin refuses more', ratio(1), [single], '1 × nvidia.com/gpu.shared, 20'],
    [
      'of two where the plugin refuses more',
      ratio(2),
      [single],
      'no-node: main: nvidia.com/gpu.shared gives a container one unit at most, 2 are needed',
    ],
    [
      'cannot be more than a node has',
      ratio(3),
      [gpuNode('few', { offer: { allocatable: 2 } })],
      'no-node: node few has 2 units of nvidia.com/gpu.shared, 3 are needed',
    ],
    [
      'of a node without GPUs to share',
      ratio(1),
      [gpuNode('bare', { shared: [] })],
      'no-target: no node that it may land on offers parts of a GPU',
    ],
    ['of no node', ratio(1), [], 'no-target: it may land on no node with a GPU'],
  ])('%s', (_, ask, nodes, expected) => expect(outcome([ask], nodes)).toBe(expected));

  it.each<[string, Ask, GpuNode[], string]>([
    ['of one on each of two GPUs', ratio(1, 2), [two], '2 × nvidia.com/gpu.shared, 20'],
    ['of one on each of three', ratio(1, 3), [two], 'no-node: main: node two has 2 GPUs, 3 are asked for'],
    [
      'of two on each of two: the plugin may spread four over more',
      ratio(2, 2),
      [two],
      'no-node: main: 2 slots on each of 2 GPUs cannot be had: the device plugin may spread them otherwise',
    ],
    [
      'of one on each of two, by a plugin that packs',
      ratio(1, 2),
      [packing],
      'no-node: main: the device plugin of node packing gives all units on one GPU, 2 GPUs are asked for',
    ],
  ])('for several GPUs: %s', (_, ask, nodes, expected) => expect(outcome([ask], nodes)).toBe(expected));

  it('is rounded once, down, and the quotas of all slots fit the card', () => {
    const odd = gpuNode('odd', { cardMemory: 1_000_003, offer: { slotsPerGPU: 7 } });
    expect(choose([ratio(3)], [odd], settings)).toMatchObject({ grants: [{ quota: 428_572 }] });
  });

  it('of slots whose memory is stated goes by what is stated, and never above the part of the card', () => {
    const less = gpuNode('less', { offer: { memoryPerSlot: 10 * GIB } });
    const more = gpuNode('more', { offer: { memoryPerSlot: 30 * GIB } });
    expect(outcome([ratio(2)], [less])).toBe('2 × nvidia.com/gpu.shared, 20 [nvidia.com/gpu.count In 1]');
    expect(outcome([ratio(2)], [more])).toBe('2 × nvidia.com/gpu.shared, 40 [nvidia.com/gpu.count In 1]');
  });
});

describe('an amount of memory', () => {
  it.each<[string, Ask, GpuNode[], string]>([
    [
      'takes the slots that hold it, and is the quota',
      vram(30),
      [big],
      '2 × nvidia.com/gpu.shared, 30 [nvidia.com/gpu.count In 1]',
    ],
    ['of just two slots', vram(40), [big], '2 × nvidia.com/gpu.shared, 40 [nvidia.com/gpu.count In 1]'],
    [
      'takes the slots that the smaller card needs',
      vram(10),
      [big, small],
      '2 × nvidia.com/gpu.shared, 10 [nvidia.com/gpu.count In 1]',
    ],
    [
      'goes to the nodes that can hold it',
      vram(30),
      [big, small],
      '2 × nvidia.com/gpu.shared, 30 [nvidia.com/gpu.count In 1] [kubernetes.io/hostname NotIn small]',
    ],
    [
      'of more than a card',
      vram(100),
      [big],
      'no-node: main: 5 slots are more than a whole GPU of node big, which has 4 slots',
    ],
    ['of nearly a card', vram(61), [big], 'no-node: main: 4 of 4 slots are a whole GPU of node big'],
    ['within the one unit of a plugin that refuses more', vram(20), [single], '1 × nvidia.com/gpu.shared, 20'],
    [
      'beyond it',
      vram(21),
      [single],
      'no-node: main: nvidia.com/gpu.shared gives a container one unit at most, 2 are needed',
    ],
    ['on each of two GPUs', vram(20, 2), [two], '2 × nvidia.com/gpu.shared, 20'],
    [
      'of two slots on each of two',
      vram(21, 2),
      [two],
      'no-node: main: 2 slots on each of 2 GPUs cannot be had: the device plugin may spread them otherwise',
    ],
    [
      'takes the fewest slots with which the most nodes can serve it',
      vram(15),
      [big, eight, small],
      '3 × nvidia.com/gpu.shared, 15 [nvidia.com/gpu.count In 1]',
    ],
  ])('%s', (_, ask, nodes, expected) => expect(outcome([ask], nodes)).toBe(expected));
});

describe('MIG', () => {
  const node = gpuNode('mig', { shared: [mig('3g.40gb', 40, 2), mig('1g.10gb', 10, 7), mig('2g.20gb', 20, 3)] });
  const side = (ask: Ask): Ask => ({ ...ask, container: 'side' });
  it.each<[string, Ask[], string, Partial<SliceSettings>?]>([
    ['one slot is the smallest instance', [ratio(1)], '1 × nvidia.com/mig-1g.10gb, 10'],
    [
      'two do not make a larger one',
      [ratio(2)],
      'no-node: main: nvidia.com/mig-1g.10gb gives a container one unit at most, 2 are needed',
    ],
    ['memory takes the smallest that is enough', [vram(11)], '1 × nvidia.com/mig-2g.20gb, 11'],
    ['more memory a larger one', [vram(21)], '1 × nvidia.com/mig-3g.40gb, 21'],
    [
      'more than the largest has',
      [vram(41)],
      'no-node: main: nvidia.com/mig-1g.10gb gives a container one unit at most, 5 are needed',
    ],
    [
      'each container its own',
      [vram(11), side(vram(5))],
      '1 × nvidia.com/mig-2g.20gb, 11 + 1 × nvidia.com/mig-1g.10gb, 5',
    ],
    [
      'the order of preference does not make instances larger',
      [vram(5)],
      '1 × nvidia.com/mig-1g.10gb, 5',
      { preference: ['nvidia.com/mig-3g.40gb', 'nvidia.com/mig-1g.10gb'] },
    ],
  ])('%s', (_, asks, expected, changed = {}) => expect(outcome(asks, [node], changed)).toBe(expected));
});

describe('several containers', () => {
  const as = (container: string, phase: Ask['phase'], ask: Ask): Ask => ({ ...ask, container, phase });
  it('are served together by one node, or stay whole together', () => {
    expect(outcome([ratio(2), as('side', 'app', ratio(2))], [big])).toBe(
      '2 × nvidia.com/gpu.shared, 40 + 2 × nvidia.com/gpu.shared, 40 [nvidia.com/gpu.count In 1]',
    );
    expect(outcome([ratio(2), as('side', 'app', ratio(3))], [big])).toBe(
      'no-node: node big has 4 units of nvidia.com/gpu.shared, 5 are needed',
    );
    expect(outcome([ratio(2), as('side', 'app', ratio(4))], [big])).toBe(
      'no-node: side: 4 of 4 slots are a whole GPU of node big',
    );
  });

  it.each<[string, Ask[], boolean]>([
    ['an init container is gone when the others run', [as('init', 'init', ratio(3)), ratio(3)], true],
    ['a sidecar is not', [as('sidecar', 'sidecar', ratio(3)), ratio(3)], false],
    [
      'a sidecar runs beside later init containers',
      [as('sidecar', 'sidecar', ratio(2)), as('init', 'init', ratio(3)), ratio(1)],
      false,
    ],
    ['and not beside earlier ones', [as('init', 'init', ratio(3)), as('sidecar', 'sidecar', ratio(2)), ratio(2)], true],
  ])('%s', (_, asks, served) => expect(choose(asks, [big], settings).kind).toBe(served ? 'share' : 'whole'));

  it('what is saved is whole GPUs less parts, as the scheduler counts a pod', () => {
    expect(choose([ratio(2)], [big], settings)).toMatchObject({ saved: 0.5 });
    expect(choose([as('init', 'init', ratio(3)), ratio(1)], [big], settings)).toMatchObject({ saved: 0.25 });
    expect(choose([ratio(1, 2)], [two], settings)).toMatchObject({ saved: 1.5 });
  });
});

describe('nodes that cannot be reckoned with', () => {
  const hidden = (labels: Record<string, string> = {}) =>
    gpuNode('hidden', { shared: [], labels, advertised: new Map([[SHARED, 4]]) });
  it('are kept off: to the scheduler their units are like others', () => {
    expect(outcome([ratio(1)], [big, hidden()])).toBe(
      '1 × nvidia.com/gpu.shared, 20 [kubernetes.io/hostname NotIn hidden]',
    );
    expect(outcome([ratio(1)], [big, hidden({ 'nvidia.com/gpu.count': '2' })])).toBe(
      '1 × nvidia.com/gpu.shared, 20 [nvidia.com/gpu.count In 1]',
    );
  });
  it('not where the pod asks for more than they have', () => {
    expect(
      outcome(
        [vram(19), { ...vram(19), container: 'b' }],
        [big, gpuNode('h', { shared: [], advertised: new Map([[SHARED, 1]]) })],
      ),
    ).toBe('1 × nvidia.com/gpu.shared, 19 + 1 × nvidia.com/gpu.shared, 19');
  });
  it('that are tainted may be untainted: kept off unless the quota holds there', () => {
    const said = (barred: GpuNode) => choose([ratio(1)], [big], settings, { barred: [barred] });
    expect(said(small)).toMatchObject({ requirements: [{ operator: 'NotIn', values: ['small'] }] });
    expect(said(hidden())).toMatchObject({ requirements: [{ operator: 'NotIn', values: ['hidden'] }] });
    expect(said(gpuNode('twin'))).toMatchObject({ requirements: [] });
  });
  it('without a label to tell them apart there is no slice', () => {
    expect(outcome([ratio(1)], [big, hidden({ 'kubernetes.io/hostname': 'big' })])).toBe(
      'no-node: nodes that cannot serve it have no label to tell them from others: hidden',
    );
  });
});

it('several slots of a plugin that packs need not be of one card where an init container hands its units on', () => {
  const init: Ask = { ...ratio(1), container: 'init', phase: 'init' };
  expect(outcome([init, ratio(2)], [packing])).toBe(
    'no-node: main: the 2 slots need not be of one GPU on node packing: some are those of an init container before it',
  );
  expect(outcome([init, ratio(1)], [packing])).toMatch(/^1 × nvidia.com\/gpu.shared/);
  expect(outcome([init, ratio(2)], [big])).toMatch(/^1 × .* \+ 2 × nvidia.com\/gpu.shared/);
  expect(outcome([{ ...ratio(2), phase: 'init' }], [packing])).toMatch(/^2 × nvidia.com\/gpu.shared/);
});

it('memory is sized on thousands of unlike nodes in a moment', () => {
  const nodes = Array.from({ length: 5000 }, (_, index) =>
    gpuNode(`n${index}`, { cardMemory: 80 * GIB + index * 1000, offer: { slotsPerGPU: 100 + index } }),
  );
  const since = performance.now();
  choose([vram(30)], nodes, settings);
  expect(performance.now() - since).toBeLessThan(1000);
});

describe('which resource', () => {
  const offer = (resource: string): SharedOffer => ({ ...(big.shared[0] as SharedOffer), resource });
  const both = gpuNode('both', { shared: [offer(SHARED), offer('example.com/part')] });
  it('the one on more nodes, else by name', () => {
    expect(outcome([ratio(1)], [both])).toMatch(/^1 × example.com\/part/);
    expect(outcome([ratio(1)], [both, big])).toMatch(/^1 × nvidia.com\/gpu.shared/);
  });
  it('the one that the administrator prefers', () => {
    expect(outcome([ratio(1)], [both, big], { preference: ['example.com/part'] })).toMatch(/^1 × example.com\/part/);
  });
  it('of the name of whole GPUs: nodes that do not share are kept off', () => {
    const renamed = gpuNode('unrenamed', {
      labels: { 'nvidia.com/gpu.replicas': '4' },
      shared: [offer('nvidia.com/gpu')],
    });
    const whole = gpuNode('whole', { cards: 8, shared: [], labels: { 'nvidia.com/gpu.replicas': '1' } });
    expect(outcome([ratio(2)], [renamed, whole])).toBe(
      '2 × nvidia.com/gpu, 40 [nvidia.com/gpu.replicas In 4] [nvidia.com/gpu.count In 1]',
    );
    const alone = gpuNode('whole', {
      cards: 8,
      shared: [],
      labels: { 'nvidia.com/gpu.count': '1', 'nvidia.com/gpu.replicas': '1' },
    });
    expect(outcome([ratio(2)], [renamed, alone])).toBe(
      '2 × nvidia.com/gpu, 40 [nvidia.com/gpu.replicas In 4] [nvidia.com/gpu.count In 1]',
    );
  });
  it('none where nodes that cannot serve it look the same', () => {
    const twin = gpuNode('twin', {
      offer: { slotsPerGPU: 2, allocatable: 8 },
      labels: { 'kubernetes.io/hostname': 'eight' },
    });
    expect(outcome([ratio(4)], [eight, twin])).toMatch(
      /^no-node: nodes that cannot serve it have no label to tell them from others/,
    );
  });
});
