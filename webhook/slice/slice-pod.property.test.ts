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
import type { GpuNode } from './inventory.ts';

const PODS = 6000;
const CLUSTERS = 1000;
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
          if (first.outcome !== 'mutated') {
            expect(first.patch).toBeUndefined();
            return;
          }
          mutated += 1;
          for (const operation of first.patch ?? []) {
            if (operation.op === 'replace') expect(getValueByPointer(pod, operation.path)).not.toEqual(operation.value);
          }
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
  for (const { container } of places(pod.spec)) {
    const now = still.get(container.name);
    if (gpusOf(container) === 0) expect(JSON.stringify(now)).toBe(JSON.stringify(container));
    else if (now !== undefined) expectEnvironment(container, now);
  }
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

/** Starts slices on the node until one does not fit, taking units wherever they are free; the containers that were placed. */
function fill(node: GpuNode, pods: readonly Pod[], draw: (below: number) => number): number {
  let placed = 0;
  for (const { resource, mode, onOneCard, refusesMultiple, slotsPerGPU, memoryPerSlot, allocatable } of node.shared) {
    const free = Array.from({ length: node.cards }, () => slotsPerGPU);
    const used = Array.from({ length: node.cards }, () => 0);
    for (let tries = 0; tries < 4 * node.cards * slotsPerGPU && pods.length > 0; tries += 1) {
      const pod = pods[draw(pods.length)]!;
      if (!mayLandOn(pod.spec, pod.spec.tolerations ?? [], node) || !fits(pod, resource, allocatable)) continue;
      for (const { container, phase } of places(pod.spec)) {
        const units = Number(container.resources?.limits?.[resource] ?? 0);
        const quota = Number(pod.metadata.annotations?.[`${container.name}.vram.penstock.dev/quota`]);
        // An init container gives its devices back to those after it.
        if (units === 0 || phase === 'init') continue;
        if (refusesMultiple) expect(units).toBe(1);
        const cards = take(free, units, onOneCard, draw);
        if (cards === undefined) continue;
        placed += 1;
        // An instance has memory of its own.
        if (mode === 'MIG') expect(quota).toBeLessThanOrEqual(memoryPerSlot);
        else for (const card of new Set(cards)) used[card] = (used[card] ?? 0) + quota;
      }
    }
    for (const bytes of used) expect(bytes).toBeLessThanOrEqual(node.cardMemory);
  }
  return placed;
}

/** As the scheduler asks, who knows nothing of cards and slots. */
function fits(pod: Pod, resource: string, allocatable: number): boolean {
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
    if (fitting.length === 0) return undefined;
    const card = fitting[draw(fitting.length)]!;
    free[card] = free[card]! - units;
    return Array.from({ length: units }, () => card);
  }
  if (free.reduce((sum, count) => sum + count, 0) < units) return undefined;
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
