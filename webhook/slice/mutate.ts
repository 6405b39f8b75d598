// SPDX-License-Identifier: Apache-2.0
// The patch that makes a pod's GPUs the slices that were chosen. Made from what the pod has now to what it shall have: where it has
// that already nothing is patched, so a second pass changes nothing and one after another webhook mends what that one undid.
import { escapePathComponent } from 'fast-json-patch';
import type { Operation } from 'fast-json-patch';
import { CONTAINER_ANNOTATIONS, SLICE_ANNOTATIONS } from '#crds/names.ts';
import { countOf } from './asks.ts';
import type { GpuPlace } from './asks.ts';
import { overflows } from './bounds.ts';
import type { Choice, Grant } from './choose.ts';
import type { Delivery, NodeRequirement, SliceSettings } from './context.ts';
import { strangeImages } from './delivery.ts';
import { Patch } from './patch.ts';
import { addRequirements, addTolerations, ownRequirements } from './placement.ts';
import type { Place, Pod } from './pod.ts';
import { preload, unknownSources } from './preload.ts';
import type { UnknownSource } from './preload.ts';
import { MAX_RECORD, readRecord, writeRecord } from './record.ts';
import type { Given } from './record.ts';
import { addInitContainer, deliveryOf, setMounts, setVolumes, volumeNumbers } from './volumes.ts';

export interface Mutation {
  readonly operations: Operation[];
  readonly warnings: string[];
}

export interface Plan {
  readonly places: readonly GpuPlace[];
  readonly choice: Extract<Choice, { kind: 'share' }>;
  readonly status: string;
  readonly delivery: Delivery;
  readonly settings: SliceSettings;
}

/** Or why there is no room for it, for people. */
export function mutate(pod: Pod, plan: Plan): Mutation | string {
  const { places, choice, settings } = plan;
  const patch = new Patch();
  const sources: UnknownSource[] = [];
  const requirements = [...settings.nodeRequirements, ...choice.requirements];
  const annotations = annotationsOf(pod, plan, requirements);
  const record = annotations.get(SLICE_ANNOTATIONS.record) ?? '';
  if (overflows(pod, annotations) || record.length > MAX_RECORD) return NO_ROOM;
  const containers = places.map(({ container }) => container);
  const numbers = volumeNumbers(pod.spec, containers);
  const delivery = deliveryOf(pod.spec, plan.delivery);
  places.forEach((place, index) => {
    const grant = choice.grants[index];
    if (grant === undefined) return;
    const path = `/spec/${place.list}/${place.index}`;
    exchange(patch, path, place, grant);
    const source = preload(patch, path, place.container);
    if (source !== undefined) sources.push(source);
    setMounts(patch, path, place.container, numbers[index] ?? 0);
  });
  setVolumes(patch, pod.spec, containers, numbers, delivery);
  addTolerations(patch, pod.spec, settings.tolerations);
  addRequirements(patch, pod.spec, requirements);
  annotate(patch, pod, annotations);
  // Last, as it moves the places of all other init containers.
  addInitContainer(patch, pod.spec, delivery);
  const warnings = [...unknownSources(sources), ...strangeImages(pod.spec, plan.delivery.image)];
  return { operations: patch.operations, warnings };
}

/** Only tells, of a pod that has no slices: what says that it has some was written by somebody else, or of a pod it was copied from. */
export function annotateStatus(pod: Pod, status: string): Operation[] | string {
  const wanted = new Map([[SLICE_ANNOTATIONS.status, status]]);
  if (overflows(pod, wanted)) return NO_ROOM;
  const patch = new Patch();
  annotate(patch, pod, wanted);
  for (const key of Object.keys(pod.metadata.annotations ?? {})) {
    if (key !== SLICE_ANNOTATIONS.record && !key.endsWith(CONTAINER_ANNOTATIONS.quota)) continue;
    patch.remove(`/metadata/annotations/${escapePathComponent(key)}`);
  }
  return patch.operations;
}

const NO_ROOM = 'its annotations leave no room for what is written about slices';

/** Another resource in the place of the GPUs; limits must be there, requests where they were. */
function exchange(patch: Patch, path: string, { container, current }: GpuPlace, { resource, units }: Grant): void {
  const { limits, requests } = container.resources ?? {};
  const count = String(units);
  for (const [list, map] of [
    ['limits', limits],
    ['requests', requests],
  ] as const) {
    const base = `${path}/resources/${list}`;
    if (map === undefined) {
      if (list === 'limits') patch.add(base, { [resource]: count });
      continue;
    }
    const there = Object.hasOwn(map, current.resource);
    if (!there && list === 'requests') continue;
    if (there && current.resource !== resource) patch.remove(`${base}/${escapePathComponent(current.resource)}`);
    if (there && current.resource === resource && current.units === units) continue;
    patch.set(base, map, resource, count);
  }
}

/**
 * Why the chosen resource cannot be put in, for people: a container asks for it itself, beside whole GPUs or in their place. Its units
 * would have to fit onto the same node, and no quota holds them.
 */
export function alreadyAsks(
  all: readonly Place[],
  places: readonly GpuPlace[],
  choice: Plan['choice'],
): string | undefined {
  const held = new Map(places.map(({ container, current }) => [container, current.resource]));
  const granted = new Set(choice.grants.map(({ resource }) => resource));
  for (const { container } of all) {
    for (const resource of granted) {
      if (held.get(container) === resource || countOf(container, resource) === 0) continue;
      return `container ${container.name} asks for ${resource} itself`;
    }
  }
  return undefined;
}

function annotationsOf(
  pod: Pod,
  { places, choice, status }: Plan,
  requirements: readonly NodeRequirement[],
): Map<string, string> {
  const wanted = new Map<string, string>();
  const record = new Map<string, Given>();
  places.forEach(({ container, gpus }, index) => {
    const grant = choice.grants[index];
    if (grant === undefined) return;
    wanted.set(container.name + CONTAINER_ANNOTATIONS.quota, String(grant.quota));
    record.set(container.name, [gpus, grant.resource, grant.units]);
  });
  const own = ownRequirements(pod.spec, requirements, readRecord(pod).requirements);
  return wanted
    .set(SLICE_ANNOTATIONS.status, status)
    .set(SLICE_ANNOTATIONS.record, writeRecord({ containers: record, requirements: own }));
}

function annotate(patch: Patch, { metadata }: Pod, wanted: ReadonlyMap<string, string>): void {
  if (metadata.annotations === undefined) patch.add('/metadata/annotations', Object.fromEntries(wanted));
  else for (const [key, value] of wanted) patch.set('/metadata/annotations', metadata.annotations, key, value);
}
