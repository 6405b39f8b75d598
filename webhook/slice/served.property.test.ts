// SPDX-License-Identifier: Apache-2.0
// A pod that a node would take whole is taken as a slice, too: at once, and with all that it asks for.
import fc from 'fast-check';
import { applyPatch } from 'fast-json-patch';
import { expect, it } from 'vitest';
import { contextOf, settings } from './fixtures.ts';
import type { Pod } from './pod.ts';
import { nodesArbitrary, podArbitrary } from './pods.arbitrary.ts';
import { isSchedulable } from './scheduler.model.ts';
import { slicePod } from './slice-pod.ts';

const PODS = 4000;
/** Some seconds of one core; beside other suites it may have to wait for it. */
const TIMEOUT_MS = 120_000;
const SEED = 20_261_123;

const overTheWire = <T>(value: T): T => JSON.parse(JSON.stringify(value)) as T;
const anywhere = { ...settings, tolerations: [{ key: 'own', operator: 'Exists' }] };

it(
  `(${PODS} pods) a slice is served by a node at once where the pod would have been served whole`,
  () => {
    const seen = { served: 0, kept: 0, waiting: 0 };
    fc.assert(
      fc.property(nodesArbitrary, podArbitrary, fc.constantFrom('image', 'init'), (nodes, pod, kind) => {
        const delivery = { kind, image: 'registry.example/penstock-vram:1' } as const;
        const { outcome, patch } = slicePod(pod, contextOf(nodes, { settings: anywhere, delivery }));
        const isServed = (one: Pod): boolean => nodes.some((node) => isSchedulable(one, node));
        if (outcome !== 'mutated') {
          if (isServed(pod) && nodes.some(({ shared }) => shared.length > 0)) seen.kept += 1;
          return;
        }
        const slice = applyPatch(overTheWire(pod), overTheWire([...(patch ?? [])]), true).newDocument;
        const atOnce = isServed(slice);
        seen[atOnce ? 'served' : 'waiting'] += 1;
        expect(atOnce || !isServed(pod)).toBe(true);
      }),
      { numRuns: PODS, seed: SEED },
    );
    expect(seen.served).toBeGreaterThan(PODS / 5);
    expect(seen.kept).toBeGreaterThan(PODS / 20);
    expect(seen.waiting).toBeGreaterThan(PODS / 100);
  },
  TIMEOUT_MS,
);
