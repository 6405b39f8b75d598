// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { applyPatch, getValueByPointer } from 'fast-json-patch';
import type { Operation } from 'fast-json-patch';
import { describe, expect, it } from 'vitest';
import type { SliceContext } from './context.ts';
import { contextOf, settings } from './fixtures.ts';
import { mayLandOn } from './node-match.ts';
import { FORMER_PRELOAD, PRELOADED } from './names.ts';
import type { Container, Pod } from './pod.ts';
import { effectiveSum, places } from './pod.ts';
import { nodesArbitrary, podArbitrary } from './pods.arbitrary.ts';
import { slicePod } from './slice-pod.ts';
import type { GpuNode, SharedOffer } from './inventory.ts';

const PODS = 6000;
const CLUSTERS = 600;
/** Some seconds of one core; beside other suites it may have to wait for it. */
const TIMEOUT_MS = 120_000;
const SEED = 20_261_121;

const tolerations = [{ key: 'sharing', operator: 'Exists' }];
const contextArbitrary: fc.Arbitrary<SliceContext> = fc
  .tuple(nodesArbitrary, fc.constantFrom('image' as const, 'init' as const), fc.boolean())
  .map(([nodes, kind, tolerated]) =>
    contextOf(nodes, {
      delivery: { kind, image: 'registry.example/penstock-vram:1' },
      settings: { ...settings, tolerations: tolerated ? tolerations : [] },
    }),
  );

function apply(pod: Pod, patch: readonly Operation[] = []): Pod {
  // As over the wire: generated pods have parts in common, which a structured clone would keep in common.
  return applyPatch(overTheWire(pod), overTheWire(patch) as Operation[], true).newDocument;
}

const overTheWire = <T>(value: T): T => JSON.parse(JSON.stringify(value)) as T;

const gpusOf = ({ resources }: Container): number =>
  Number(resources?.limits?.['nvidia.com/gpu'] ?? resources?.requests?.['nvidia.com/gpu'] ?? 0);

describe('for generated pods', () => {
  it(
    `(${PODS}) a patch applied twice is one applied once, no operation is idle, and nothing unrelated is touched`,
    () => {
      let mutated = 0;
      fc.assert(
        fc.property(podArbitrary, contextArbitrary, (pod, context) => {
          const before = JSON.stringify(pod);
          const first = slicePod(pod, context);
          expect(JSON.stringify(pod)).toBe(before);
          expect(first.patch !== undefined).toBe(first.outcome === 'mutated');
          if (first.patch === undefined) return;
          mutated += 1;
          const idle = first.patch.filter(
            (one) => one.op === 'replace' && getValueByPointer(pod, one.path) === one.value,
          );
          expect(idle).toEqual([]);
          const after = apply(pod, first.patch);
          const second = slicePod(after, context);
          expect([second.outcome, second.reason, second.patch]).toEqual(['noop', 'already-sliced', undefined]);
          expectUntouched(pod, after);
        }),
        { numRuns: PODS, seed: SEED },
      );
      // Else the generator has come to make pods that nothing is done with.
      expect(mutated).toBeGreaterThan(PODS / 3);
    },
    TIMEOUT_MS,
  );

  it(
    `(${CLUSTERS} clusters) quotas on a card never add up to more than the card, however the plugin places them`,
    () => {
      let placed = 0;
      const cluster = fc.tuple(
        contextArbitrary,
        fc.array(podArbitrary, { minLength: 4, maxLength: 10 }),
        fc.infiniteStream(fc.nat(1_000_000)),
      );
      fc.assert(
        fc.property(cluster, ([context, pods, random]) => {
          const draw = (below: number): number => Number(random.next().value) % below;
          const slices = pods.flatMap((pod) => {
            const { outcome, patch } = slicePod(pod, context);
            return outcome === 'mutated' ? [apply(pod, patch)] : [];
          });
          for (const node of context.inventory.nodes) placed += fill(node, slices, draw);
        }),
        { numRuns: CLUSTERS, seed: SEED + 1 },
      );
      expect(placed).toBeGreaterThan(CLUSTERS);
    },
    TIMEOUT_MS,
  );
});

function expectUntouched(pod: Pod, after: Pod): void {
  expect(unrelated(after)).toEqual(unrelated(pod));
  const still = new Map(places(after.spec).map(({ container }) => [container.name, container]));
  const all = places(pod.spec).map(({ container }) => container);
  const without = all.filter((container) => gpusOf(container) === 0);
  expect(without.map(({ name }) => JSON.stringify(still.get(name)))).toEqual(without.map((one) => JSON.stringify(one)));
  for (const container of all.filter((one) => gpusOf(one) > 0))
    expectEnvironment(container, still.get(container.name)!);
}

/** The pod less all that slicing may change. */
function unrelated(pod: Pod): unknown {
  const ours = /^penstock-(?:vram|quota)/;
  const map = (values: Readonly<Record<string, unknown>> | undefined): unknown =>
    Object.fromEntries(
      Object.entries(values ?? {}).filter(([key]) => !/^(?:nvidia\.com\/|example\.com\/part)/.test(key)),
    );
  const container = ({ env, volumeMounts, resources, ...rest }: Container): unknown => ({
    ...rest,
    env: (env ?? []).filter(({ name }) => name !== 'LD_PRELOAD' && !name.startsWith(FORMER_PRELOAD)),
    volumeMounts: (volumeMounts ?? []).filter(({ name }) => !ours.test(name)),
    resources: { limits: map(resources?.limits), requests: map(resources?.requests) },
  });
  const { containers, initContainers, volumes, tolerations: tolerated, affinity, ...spec } = pod.spec;
  const { annotations, ...metadata } = pod.metadata;
  return {
    metadata,
    annotations: Object.entries(annotations ?? {}).filter(
      ([key]) => !/(?:vram\.penstock\.dev\/quota|penstock\.dev\/slice-status|penstock\.dev\/sliced)$/.test(key),
    ),
    spec,
    containers: containers.map(container),
    initContainers: (initContainers ?? []).filter(({ name }) => name !== 'penstock-vram').map(container),
    volumes: (volumes ?? []).filter(({ name }) => !ours.test(name)),
    tolerations: (tolerated ?? []).filter(({ key }) => key !== 'sharing'),
    terms: (affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms ?? [])
      .map(({ matchExpressions = [], matchFields = [] }) => [
        matchExpressions.filter(({ key }) => key === 'zone'),
        matchFields,
      ])
      .filter((lists) => lists.some((list) => list.length > 0)),
  };
}

/** What the kubelet makes of `env`: names in order, $(NAME) from entries before, a reference to elsewhere as `<source>`. */
function environment({ env = [] }: Container): Map<string, string> {
  const made = new Map<string, string>();
  for (const { name, value, valueFrom } of env) {
    if (valueFrom !== undefined) made.set(name, `<${JSON.stringify(valueFrom)}>`);
    else
      made.set(
        name,
        (value ?? '').replaceAll(/\$\((\w+)\)/g, (text, key: string) => made.get(key) ?? text),
      );
  }
  return made;
}

function expectEnvironment(before: Container, after: Container): void {
  const [old, now] = [environment(before), environment(after)];
  const rest = (old.get('LD_PRELOAD') ?? '')
    .split(':')
    .filter((file) => file !== '' && !PRELOADED.some((own) => own === file));
  // A reference holds colons of its own.
  const kept = old.get('LD_PRELOAD')?.startsWith('<') ? [old.get('LD_PRELOAD')] : rest;
  expect(now.get('LD_PRELOAD')).toBe([...PRELOADED, ...kept].join(':'));
  const others = (map: Map<string, string>) =>
    [...map].filter(([name]) => name !== 'LD_PRELOAD' && !name.startsWith(FORMER_PRELOAD));
  expect(others(now)).toEqual(others(old));
}

/** Starts slices on the node for a while, taking units wherever they are free; the containers that were placed. */
function fill(node: GpuNode, pods: readonly Pod[], draw: (below: number) => number): number {
  const allowed = pods.filter(({ spec }) => mayLandOn(spec, spec.tolerations ?? [], node));
  let placed = 0;
  for (const offer of node.shared) {
    const free = Array.from({ length: node.cards }, () => offer.slotsPerGPU);
    const used = Array.from({ length: node.cards }, () => 0);
    const fitting = allowed.filter((pod) => fits(pod, offer));
    for (let tries = 0; tries < 4 * node.cards * offer.slotsPerGPU && fitting.length > 0; tries += 1) {
      for (const { units, quota } of unitsOf(fitting[draw(fitting.length)]!, offer)) {
        const cards = new Set(take(free, units, offer.onOneCard, draw));
        placed += Math.min(1, cards.size);
        for (const card of cards) used[card] = (used[card] ?? 0) + quota;
      }
    }
    // Instances of MIG have memory of their own, which need not add up to the card's.
    expect(offer.mode === 'MIG' ? 0 : Math.max(...used)).toBeLessThanOrEqual(node.cardMemory);
  }
  return placed;
}

/** What runs at a time: init containers give their devices back to those after them. */
function unitsOf(
  pod: Pod,
  { resource, mode, refusesMultiple, memoryPerSlot }: SharedOffer,
): { units: number; quota: number }[] {
  return places(pod.spec).flatMap(({ container, phase }) => {
    const units = Number(container.resources?.limits?.[resource] ?? 0);
    const quota = Number(pod.metadata.annotations?.[`${container.name}.vram.penstock.dev/quota`]);
    if (units === 0) return [];
    expect(units).toBeLessThanOrEqual(refusesMultiple ? 1 : Infinity);
    expect(quota).toBeLessThanOrEqual(mode === 'MIG' ? memoryPerSlot : Infinity);
    return phase === 'init' ? [] : [{ units, quota }];
  });
}

/** As the scheduler asks, who knows nothing of cards and slots. */
function fits(pod: Pod, { resource, allocatable }: SharedOffer): boolean {
  const all = places(pod.spec);
  const units = all.map(({ container }) => Number(container.resources?.limits?.[resource] ?? 0));
  return (
    effectiveSum(
      all.map(({ phase }) => phase),
      units,
    ) <= allocatable
  );
}

/** Units from cards with free ones: of one card if the plugin packs, else of the most different ones or of any, by the draw. */
function take(
  free: number[],
  units: number,
  onOneCard: boolean,
  draw: (below: number) => number,
): number[] | undefined {
  if (onOneCard) {
    const fitting = free.flatMap((count, card) => (count >= units ? [card] : []));
    if (fitting.length === 0) return [];
    const card = fitting[draw(fitting.length)]!;
    free[card] = free[card]! - units;
    return Array.from({ length: units }, () => card);
  }
  if (free.reduce((sum, count) => sum + count, 0) < units) return [];
  const spread = draw(2) === 0;
  const taken: number[] = [];
  while (taken.length < units) {
    const open = free.flatMap((count, card) => (count > 0 ? [card] : []));
    const fresh = open.filter((card) => !taken.includes(card));
    const from = spread && fresh.length > 0 ? fresh : open;
    const card = from[draw(from.length)]!;
    free[card] = free[card]! - 1;
    taken.push(card);
  }
  return taken;
}
