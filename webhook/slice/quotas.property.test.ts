// SPDX-License-Identifier: Apache-2.0
// Quotas on a card never add up to more than the card: whatever nodes there are, join later or come back, and wherever units end up.
import fc from 'fast-check';
import { applyPatch } from 'fast-json-patch';
import type { Operation } from 'fast-json-patch';
import { expect, it } from 'vitest';
import { fill, unitsOf } from './device-plugin.model.ts';
import type { Draw } from './device-plugin.model.ts';
import { contextOf, settings, SHARED } from './fixtures.ts';
import type { GpuNode, SharedOffer } from './inventory.ts';
import { places } from './pod.ts';
import type { Pod } from './pod.ts';
import { HCA, laterArbitrary, nodesArbitrary, podArbitrary } from './pods.arbitrary.ts';
import { mayBeScheduled } from './scheduler.model.ts';
import { slicePod } from './slice-pod.ts';

const CLUSTERS = 800;
/** Some seconds of one core; beside other suites it may have to wait for it. */
const TIMEOUT_MS = 120_000;
const SEED = 20_261_122;

const overTheWire = <T>(value: T): T => JSON.parse(JSON.stringify(value)) as T;

/** The pods that are sliced there, as they are then. */
function slicesOf(pods: readonly Pod[], nodes: readonly GpuNode[], tolerated: boolean): Pod[] {
  const tolerations = tolerated ? [{ key: 'own', operator: 'Exists' }] : [];
  const context = contextOf(nodes, { settings: { ...settings, tolerations } });
  return pods.flatMap((pod) => {
    const { outcome, patch = [] } = slicePod(pod, context);
    if (outcome !== 'mutated') return [];
    // As over the wire: generated pods have parts in common, which a structured clone would keep in common.
    return [applyPatch(overTheWire(pod), overTheWire(patch) as Operation[], true).newDocument];
  });
}

const units = (pod: Pod, resource: string): number => unitsOf(pod, resource);
const landing = (pods: readonly Pod[], node: GpuNode): Pod[] => pods.filter((pod) => mayBeScheduled(pod, node));

/** How many were started. */
function checkOffer(node: GpuNode, offer: SharedOffer, pods: readonly Pod[], draw: Draw): number {
  const taken = pods.filter((pod) => units(pod, offer.resource) > 0 && units(pod, offer.resource) <= offer.allocatable);
  for (const pod of taken) checkUnits(pod, offer);
  const [started, most] = fill(node, offer, taken, draw);
  // Instances of MIG have memory of their own, which need not add up to the card's.
  expect(offer.mode === 'MIG' ? 0 : most).toBeLessThanOrEqual(node.cardMemory);
  return started;
}

function checkUnits(pod: Pod, { resource, mode, memoryPerSlot, refusesMultiple }: SharedOffer): void {
  for (const { container } of places(pod.spec)) {
    const count = Number(container.resources?.limits?.[resource] ?? 0);
    if (count === 0) continue;
    expect(count).toBeLessThanOrEqual(refusesMultiple ? 1 : Infinity);
    const quota = Number(pod.metadata.annotations?.[`${container.name}.vram.penstock.dev/quota`]);
    expect(quota).toBeLessThanOrEqual(mode === 'MIG' ? memoryPerSlot : Infinity);
  }
}

/** Units of which nobody knows what they are: whoever gets one has a quota that was reckoned for others. */
function checkHidden(node: GpuNode, pods: readonly Pod[]): void {
  const offered = new Set(node.shared.map(({ resource }) => resource));
  const hidden = [...node.advertised].filter(([resource]) => !offered.has(resource) && resource !== HCA);
  for (const [resource, count] of hidden) {
    const stray = pods.filter((pod) => units(pod, resource) > 0 && units(pod, resource) <= count);
    expect(stray.map(({ spec }) => spec)).toEqual([]);
  }
}

const pinned = ({ spec }: Pod): boolean => JSON.stringify(spec.affinity ?? {}).includes('nvidia.com/gpu.replicas');

it(
  `(${CLUSTERS} clusters) quotas on a card never add up to more than the card, however units are placed`,
  () => {
    const seen = { started: 0, later: 0, hidden: 0 };
    const cluster = fc.tuple(
      nodesArbitrary,
      laterArbitrary,
      fc.boolean(),
      fc.array(podArbitrary, { minLength: 4, maxLength: 10 }),
      fc.infiniteStream(fc.nat(1_000_000)),
    );
    fc.assert(
      fc.property(cluster, ([nodes, later, tolerated, pods, random]) => {
        const draw: Draw = (below) => Number(random.next().value) % below;
        const slices = slicesOf(pods, nodes, tolerated);
        for (const node of nodes) {
          const here = landing(slices, node);
          checkHidden(node, here);
          for (const offer of node.shared) seen.started += checkOffer(node, offer, here, draw);
          if (slices.length > 0 && node.shared.length === 0 && node.advertised.has(SHARED)) seen.hidden += 1;
        }
        // Where no label was required nothing is said about nodes that join later.
        const labelled = slices.filter(pinned);
        for (const node of later) {
          for (const offer of node.shared) seen.later += checkOffer(node, offer, landing(labelled, node), draw);
        }
      }),
      { numRuns: CLUSTERS, seed: SEED },
    );
    expect(seen.started).toBeGreaterThan(CLUSTERS);
    expect(seen.later).toBeGreaterThan(CLUSTERS / 4);
    expect(seen.hidden).toBeGreaterThan(CLUSTERS / 8);
  },
  TIMEOUT_MS,
);
