// SPDX-License-Identifier: Apache-2.0
// The patch that makes a pod's GPUs the slices that were chosen. Made from what the pod has now to what it shall have: where it has
// that already nothing is patched, so a second pass changes nothing and one after another webhook mends what that one undid.
import { escapePathComponent } from 'fast-json-patch';
import type { Operation } from 'fast-json-patch';
import { CONTAINER_ANNOTATIONS, SLICE_ANNOTATIONS } from '#crds/names.ts';
import { countOf, recordOf } from './asks.ts';
import type { Given, GpuPlace } from './asks.ts';
import type { Choice, Grant } from './choose.ts';
import type { Delivery, SliceSettings } from './context.ts';
import { Patch } from './patch.ts';
import { addRequirements, addTolerations } from './placement.ts';
import type { Pod } from './pod.ts';
import { preload } from './preload.ts';
import { addInitContainer, addMounts, addVolumes, deliveryOf, volumeNumbers } from './volumes.ts';

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

export function mutate(pod: Pod, plan: Plan): Mutation {
  const { places, choice, settings } = plan;
  const patch = new Patch();
  const warnings: string[] = [];
  const containers = places.map(({ container }) => container);
  const numbers = volumeNumbers(pod.spec, containers);
  const delivery = deliveryOf(pod.spec, plan.delivery);
  places.forEach((place, index) => {
    const grant = choice.grants[index];
    if (grant === undefined) return;
    const path = `/spec/${place.list}/${place.index}`;
    exchange(patch, path, place, grant);
    const warning = preload(patch, path, place.container);
    if (warning !== undefined) warnings.push(`${place.container.name}: ${warning}`);
    addMounts(patch, path, place.container, numbers[index] ?? 0);
  });
  addVolumes(patch, pod.spec, containers, numbers, delivery);
  addTolerations(patch, pod.spec, settings.tolerations);
  addRequirements(patch, pod.spec, [...settings.nodeRequirements, ...choice.requirements]);
  annotate(patch, pod, annotationsOf(plan));
  // Last, as it moves the places of all other init containers.
  addInitContainer(patch, pod.spec, delivery);
  return { operations: patch.operations, warnings };
}

/** Only tells, for a dry run. */
export function annotateStatus(pod: Pod, status: string): Operation[] {
  const patch = new Patch();
  annotate(patch, pod, new Map([[SLICE_ANNOTATIONS.status, status]]));
  return patch.operations;
}

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

/** Why the chosen resource cannot be put in, for people: the container asks for it itself, beside whole GPUs. */
export function alreadyAsks(places: readonly GpuPlace[], choice: Plan['choice']): string | undefined {
  const index = places.findIndex(({ container, current }, at) => {
    const { resource } = choice.grants[at] ?? current;
    return resource !== current.resource && countOf(container, resource) !== 0;
  });
  const place = places[index];
  return (
    place &&
    `container ${place.container.name} asks for ${choice.grants[index]?.resource} beside ${place.current.resource}`
  );
}

function annotationsOf({ places, choice, status }: Plan): Map<string, string> {
  const wanted = new Map<string, string>();
  const record = new Map<string, Given>();
  places.forEach(({ container, gpus }, index) => {
    const grant = choice.grants[index];
    if (grant === undefined) return;
    wanted.set(container.name + CONTAINER_ANNOTATIONS.quota, String(grant.quota));
    record.set(container.name, [gpus, grant.resource, grant.units]);
  });
  return wanted.set(SLICE_ANNOTATIONS.status, status).set(SLICE_ANNOTATIONS.record, recordOf(record));
}

function annotate(patch: Patch, { metadata }: Pod, wanted: ReadonlyMap<string, string>): void {
  if (metadata.annotations === undefined) patch.add('/metadata/annotations', Object.fromEntries(wanted));
  else for (const [key, value] of wanted) patch.set('/metadata/annotations', metadata.annotations, key, value);
}
