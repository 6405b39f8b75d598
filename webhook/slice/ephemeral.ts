// SPDX-License-Identifier: Apache-2.0
// Ephemeral containers (kubectl debug): they may have neither resources nor volumes of their own, but the environment and the mounts
// of the container they look into, and then its quota: both processes share one region.
import { crowded } from './bounds.ts';
import { Patch } from './patch.ts';
import { places } from './pod.ts';
import type { Container, EphemeralContainer, Pod } from './pod.ts';
import { preload, unknownSources } from './preload.ts';
import { conflict, numberOf, setMounts } from './volumes.ts';
import type { Mutation } from './mutate.ts';

/** What became of the new ones of a pod with slices. */
export interface Joined extends Mutation {
  /** How many share the limit of another container. */
  readonly limited: number;
  /** How many go without a limit, each with a warning. */
  readonly unlimited: number;
}

/** `old`: the pod before; what is there already cannot be changed any more. */
export function joinSlices(pod: Pod, old: Pod): Joined {
  const crowd = crowded(pod.spec) ?? crowded(old.spec);
  if (crowd !== undefined) return { ...NOTHING, warnings: [`penstock: not looked at: ${crowd}`] };
  const containers = places(pod.spec).map(({ container }) => container);
  const sliced = containers.filter((container) => numberOf(container) !== undefined);
  if (sliced.length === 0) return NOTHING;
  const known = new Set(old.spec.ephemeralContainers?.map(({ name }) => name));
  const targets = targetsOf(containers, sliced);
  const patch = new Patch();
  const warnings: string[] = [];
  let [limited, unlimited] = [0, 0];
  pod.spec.ephemeralContainers?.forEach((container, index) => {
    const target = known.has(container.name) ? 'other' : targets(container);
    if (target === 'other') return;
    const obstacle = target === 'several' ? SEVERAL : conflict(pod.spec, [container]);
    if (target === 'several' || obstacle !== undefined) {
      unlimited += 1;
      warnings.push(`penstock: ${container.name}: its GPU memory is not limited: ${obstacle}`);
      return;
    }
    const before = patch.operations.length;
    const doubt = join(patch, index, container, numberOf(target) ?? 0);
    // A second pass finds it done.
    if (patch.operations.length > before) limited += 1;
    if (doubt !== undefined) warnings.push(`penstock: ${doubt}`);
  });
  return { operations: patch.operations, warnings, limited, unlimited };
}

const NOTHING: Joined = { operations: [], warnings: [], limited: 0, unlimited: 0 };
const SEVERAL = 'several containers have slices; name one with --target';

/** The container that is named, or the only one there is; `other` is one without a slice. */
function targetsOf(
  containers: readonly Container[],
  sliced: readonly Container[],
): (container: EphemeralContainer) => Container | 'other' | 'several' {
  const names = new Set(containers.map(({ name }) => name));
  const byName = new Map(sliced.map((container) => [container.name, container]));
  const only = sliced.length === 1 ? sliced[0] : undefined;
  return ({ targetContainerName: target }) => {
    if (target === undefined || target === '') return only ?? 'several';
    return byName.get(target) ?? (names.has(target) ? 'other' : 'several');
  };
}

/** What is not known of its environment, for people. */
function join(patch: Patch, index: number, container: EphemeralContainer, number: number): string | undefined {
  const path = `/spec/ephemeralContainers/${index}`;
  const source = preload(patch, path, container);
  setMounts(patch, path, container, number);
  return source && unknownSources([source])[0];
}
