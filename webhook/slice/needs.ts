// SPDX-License-Identifier: Apache-2.0
// What a pod asks for beside the GPUs that are exchanged for slices: its node has to have that, too.
import { amountOf } from './amounts.ts';
import { effectiveSum } from './pod.ts';
import type { Place, PodSpec, Resources } from './pod.ts';

/** Amounts by resource, none of them 0. */
export type Needs = ReadonlyMap<string, number>;

/** More than any node has: each is held against each node. */
export const MAX_NEEDS = 64;

/** The only ones that a pod may ask for as a whole (KEP-2837). */
const OF_PODS = /^(?:cpu|memory|hugepages-.+)$/;

/**
 * What the scheduler holds against a node (component-helpers, PodRequests): of containers and sidecars together, or of the init
 * container at which it is more; what the pod states as a whole in its place; and the overhead of its runtime on top.
 * @param exchanged what a container asks for in the place of which it gets slices: not counted
 * @returns undefined where those are of more kinds than are looked at
 */
export function needsOf(
  spec: PodSpec,
  all: readonly Place[],
  exchanged: (place: Place) => string | undefined,
): Needs | undefined {
  const phases = all.map(({ phase }) => phase);
  const byContainer = all.map((place) => requestsOf(place.container.resources, exchanged(place)));
  const asked = new Map<string, number>();
  const names = new Set(byContainer.flatMap((requests) => [...requests.keys()]));
  const whole = requestsOf(spec.resources);
  const overhead = requestsOf({ requests: spec.overhead ?? {} });
  for (const name of [...whole.keys(), ...overhead.keys()]) names.add(name);
  if (names.size > MAX_NEEDS) return undefined;
  for (const name of names) {
    const units = byContainer.map((requests) => requests.get(name) ?? 0);
    const ofPod = OF_PODS.test(name) ? statedFor(name, spec.resources, units) : undefined;
    const amount = (ofPod ?? effectiveSum(phases, units)) + (overhead.get(name) ?? 0);
    if (amount > 0) asked.set(name, amount);
  }
  return asked;
}

/** Of the pod as a whole: a limit alone stands for a request only where no container has one. */
function statedFor(name: string, resources: Resources | undefined, units: readonly number[]): number | undefined {
  const { requests, limits } = resources ?? {};
  if (requests && Object.hasOwn(requests, name)) return amountOf(name, requests[name]);
  const alone = limits && Object.hasOwn(limits, name) && units.every((amount) => amount === 0);
  return alone ? amountOf(name, limits[name]) : undefined;
}

/** A limit stands for a request that is not stated. */
function requestsOf(resources: Resources | undefined, without?: string): Map<string, number> {
  const stated = { ...resources?.limits, ...resources?.requests };
  const found = new Map<string, number>();
  for (const [name, quantity] of Object.entries(stated)) {
    const amount = name === without ? 0 : amountOf(name, quantity);
    if (amount > 0) found.set(name, amount);
  }
  return found;
}
