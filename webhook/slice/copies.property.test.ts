// SPDX-License-Identifier: Apache-2.0
// Generated pods that were sliced, then copied, edited, and created again in another cluster or the same.
import fc from 'fast-check';
import { applyPatch } from 'fast-json-patch';
import type { Operation } from 'fast-json-patch';
import { describe, expect, it } from 'vitest';
import type { SliceContext } from './context.ts';
import { contextOf, GIB, SHARED } from './fixtures.ts';
import type { Container, Pod, Volume } from './pod.ts';
import { places } from './pod.ts';
import { nodesArbitrary, podArbitrary } from './pods.arbitrary.ts';
import { slicePod } from './slice-pod.ts';

const PODS = 6000;
const SEED = 20_261_122;
/** Some seconds of one core; beside other suites it may have to wait for it. */
const TIMEOUT_MS = 120_000;
const GPU = 'nvidia.com/gpu';

type Annotations = Record<string, string>;
interface Editable {
  readonly containers: Container[];
  readonly volumes: Volume[];
  readonly annotations: Annotations;
  readonly pod: Pod;
}
type Edit = (made: Editable) => void;

const changed = (containers: Container[], change: (container: Container) => Container): void => {
  containers.forEach((container, index) => (containers[index] = change(container)));
};
const asking = (resource: string, count: number) => ({ limits: { [resource]: String(count) } });

/** What people do with a manifest that they got from the API server. */
const EDITS: Readonly<Record<string, Edit>> = {
  'nothing else': () => {},
  'opt-in taken back': ({ annotations }) => void delete annotations['penstock.dev/slice'],
  'opted out': ({ annotations }) => void (annotations['penstock.dev/slice'] = 'false'),
  'dry run': ({ annotations }) => void (annotations['penstock.dev/slice-dry-run'] = 'true'),
  'record lost': ({ annotations }) => void delete annotations['penstock.dev/sliced'],
  'larger quotas': ({ annotations }) => {
    for (const key of Object.keys(annotations)) if (key.endsWith('/quota')) annotations[key] = String(500 * GIB);
  },
  'a ratio of the whole': ({ annotations }) => void (annotations['penstock.dev/slice-ratio'] = '64'),
  'another number of slots': ({ containers }) =>
    changed(containers, (one) => (one.resources?.limits?.[SHARED] ? { ...one, resources: asking(SHARED, 3) } : one)),
  'whole GPUs by hand': ({ containers }) => changed(containers, (one) => ({ ...one, resources: asking(GPU, 1) })),
  'no GPU any more': ({ containers }) => changed(containers, (one) => ({ ...one, resources: {} })),
  'both at once': ({ containers }) =>
    changed(containers, (one) => ({
      ...one,
      resources: { limits: { ...one.resources?.limits, [GPU]: '1', [SHARED]: '1' } },
    })),
  'without mounts': ({ containers }) => changed(containers, ({ volumeMounts: _, ...one }) => one),
  'without environment': ({ containers }) => changed(containers, ({ env: _, ...one }) => one),
  'without volumes': ({ volumes }) => void volumes.splice(0),
  'volumes of other kinds': ({ volumes }) =>
    volumes.forEach(({ name }, index) => (volumes[index] = { name, emptyDir: {} })),
  'without affinity': ({ pod }) => void delete (pod.spec as { affinity?: unknown }).affinity,
  'a container twice': ({ containers }) => {
    const [one] = containers;
    if (one) containers.push({ ...structuredClone(one), name: 'again' });
  },
  'a container twice, whole': ({ containers }) => {
    const [one] = containers;
    if (one) containers.unshift({ ...structuredClone(one), name: 'again', resources: asking(GPU, 1) });
  },
  'one more container': ({ containers }) => void containers.push({ name: 'more', resources: asking(GPU, 1) }),
};

const overTheWire = <T>(value: T): T => JSON.parse(JSON.stringify(value)) as T;

function apply(pod: Pod, patch: readonly Operation[] = []): Pod {
  return applyPatch(overTheWire(pod), overTheWire(patch) as Operation[], true).newDocument;
}

function copied(pod: Pod, edits: readonly string[]): Pod {
  const made = overTheWire(pod);
  const { containers, volumes = [] } = made.spec as { containers: Container[]; volumes?: Volume[] };
  for (const name of edits) {
    EDITS[name]?.({ containers, volumes, annotations: made.metadata.annotations as Annotations, pod: made });
  }
  return made;
}

const contextArbitrary: fc.Arbitrary<SliceContext> = fc
  .tuple(nodesArbitrary, fc.constantFrom('image' as const, 'init' as const))
  .map(([nodes, kind]) => contextOf(nodes, { delivery: { kind, image: 'registry.example/penstock-vram:1' } }));

describe('for generated pods that were sliced and are created anew', () => {
  it(
    `(${PODS}) a patch applied twice is one applied once, and no mount or quota of before is left without its slice`,
    () => {
      const seen = { copies: 0, restored: 0, whole: 0 };
      fc.assert(
        fc.property(
          podArbitrary,
          contextArbitrary,
          fc.option(contextArbitrary),
          fc.uniqueArray(fc.constantFrom(...Object.keys(EDITS)), { minLength: 1, maxLength: 2 }),
          (pod, context, elsewhere, edits) => {
            const first = slicePod(pod, context);
            if (first.outcome !== 'mutated') return;
            seen.copies += 1;
            const copy = copied(apply(pod, first.patch), edits);
            const there = elsewhere ?? context;
            const second = slicePod(copy, there);
            const after = apply(copy, second.patch);
            const third = slicePod(after, there);
            expect([third.patch, third.restored]).toEqual([undefined, undefined]);
            if (second.restored) seen.restored += 1;
            if (second.restored && second.outcome === 'noop') seen.whole += 1;
            if (second.outcome === 'noop' && third.reason !== 'already-sliced' && third.reason !== 'malformed') {
              // An annotation or our init container alone, without mounts and without a record, are nobody's limit.
              expectWhole(after, second.restored === true);
            }
          },
        ),
        { numRuns: PODS, seed: SEED },
      );
      // Else the generator has come to make copies that nothing is done with.
      expect(seen.copies).toBeGreaterThan(PODS / 4);
      expect(seen.restored).toBeGreaterThan(PODS / 10);
      expect(seen.whole).toBeGreaterThan(PODS / 20);
    },
    TIMEOUT_MS,
  );
});

function expectWhole({ metadata, spec }: Pod, restored: boolean): void {
  const containers = places(spec).filter(({ container }) => restored || container.name !== 'penstock-vram');
  const mounts = containers.flatMap(({ container }) => container.volumeMounts ?? []);
  expect(mounts.filter(({ mountPath }) => mountPath.startsWith('/penstock/'))).toEqual([]);
  const quotas = Object.keys(metadata.annotations ?? {}).filter((key) => key.endsWith('/quota'));
  expect(restored ? quotas : []).toEqual([]);
}
