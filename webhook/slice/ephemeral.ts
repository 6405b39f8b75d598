// SPDX-License-Identifier: Apache-2.0
// Ephemeral containers (kubectl debug): they may have neither resources nor volumes of their own, but the environment and the mounts
// of the container they look into, and then its quota: both processes share one region.
import { Patch } from './patch.ts';
import { places } from './pod.ts';
import type { Container, EphemeralContainer, Pod } from './pod.ts';
import { preload, unknownSources } from './preload.ts';
import { conflict, numberOf, setMounts } from './volumes.ts';
import type { Mutation } from './mutate.ts';

/** `old`: the pod before; what is there already cannot be changed any more. */
export function joinSlices(pod: Pod, old: Pod): Mutation {
  const patch = new Patch();
  const warnings: string[] = [];
  const known = new Set(old.spec.ephemeralContainers?.map(({ name }) => name));
  const sliced = places(pod.spec).flatMap(({ container }) => (numberOf(container) === undefined ? [] : [container]));
  if (sliced.length === 0) return { operations: [], warnings };
  pod.spec.ephemeralContainers?.forEach((container, index) => {
    if (known.has(container.name)) return;
    const warning = join(patch, index, container, targetOf(container, pod, sliced), pod);
    if (warning !== undefined) warnings.push(`penstock: ${warning}`);
  });
  return { operations: patch.operations, warnings };
}

/** The container that is named, or the only one there is; `other` is one without a slice. */
function targetOf(
  { targetContainerName }: EphemeralContainer,
  { spec }: Pod,
  sliced: readonly Container[],
): Container | 'other' | 'several' {
  if (targetContainerName !== undefined && targetContainerName !== '') {
    const named = places(spec).some(({ container }) => container.name === targetContainerName);
    return sliced.find(({ name }) => name === targetContainerName) ?? (named ? 'other' : 'several');
  }
  return sliced.length === 1 && sliced[0] !== undefined ? sliced[0] : 'several';
}

function join(
  patch: Patch,
  index: number,
  container: EphemeralContainer,
  target: Container | 'other' | 'several',
  pod: Pod,
): string | undefined {
  if (target === 'other') return undefined;
  if (target === 'several') {
    return `${container.name}: its GPU memory is not limited: several containers have slices; name one with --target`;
  }
  const number = numberOf(target);
  const obstacle = conflict(pod.spec, [container]);
  if (number === undefined || obstacle !== undefined)
    return `${container.name}: its GPU memory is not limited: ${obstacle}`;
  const path = `/spec/ephemeralContainers/${index}`;
  const source = preload(patch, path, container);
  setMounts(patch, path, container, number);
  return source && unknownSources([source])[0];
}
