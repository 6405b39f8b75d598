// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { applyPatch, getValueByPointer } from 'fast-json-patch';
import type { Operation } from 'fast-json-patch';
import { describe, expect, it } from 'vitest';
import type { SliceContext } from './context.ts';
import { contextOf, settings } from './fixtures.ts';
import { FORMER_PRELOAD, PRELOADED } from './names.ts';
import type { Container, Pod } from './pod.ts';
import { places } from './pod.ts';
import { nodesArbitrary, podArbitrary } from './pods.arbitrary.ts';
import { slicePod } from './slice-pod.ts';
import type { Sliced } from './slice-pod.ts';

const PODS = 6000;
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
          const isWhole = first.wholeBecause !== undefined && first.reason !== 'too-large';
          expect(first.patch !== undefined).toBe(first.outcome === 'mutated' || isWhole);
          if (first.patch === undefined) return;
          if (first.outcome !== 'mutated') return expectTold(pod, first, context);
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
      expect(mutated).toBeGreaterThan(PODS / 4);
    },
    TIMEOUT_MS,
  );
});

/** A pod that stays whole has a sentence more, once. */
function expectTold(pod: Pod, { patch, reason }: Sliced, context: SliceContext): void {
  const told = apply(pod, patch);
  expect(told.spec).toEqual(pod.spec);
  const again = slicePod(told, context);
  expect([again.reason, again.patch]).toEqual([reason, undefined]);
}

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
