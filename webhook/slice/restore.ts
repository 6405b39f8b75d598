// SPDX-License-Identifier: Apache-2.0
// The way back: what slices have brought goes, and containers ask for the whole GPUs that they asked for before. For pods that were made of
// the manifest of a sliced one and cannot, or shall not, be sliced as that was.
import { escapePathComponent } from 'fast-json-patch';
import type { Operation } from 'fast-json-patch';
import { CONTAINER_ANNOTATIONS, SLICE_ANNOTATIONS } from '#crds/names.ts';
import { countOf, heldBy } from './asks.ts';
import type { SliceSettings } from './context.ts';
import { VOLUMES } from './names.ts';
import { Patch } from './patch.ts';
import { removeRequirements } from './placement.ts';
import { places } from './pod.ts';
import type { Container, Place, Pod } from './pod.ts';
import { unload } from './preload.ts';
import { readRecord } from './record.ts';
import type { ReadRecord } from './record.ts';
import { isInstaller, isMarked, isOurs, isOurVolume } from './volumes.ts';

/** Nothing, where the pod has nothing of a slice. */
export function restore(pod: Pod, settings: SliceSettings): Operation[] {
  const { metadata, spec } = pod;
  const record = readRecord(pod);
  const all = places(spec);
  const marked = all.filter((place) => !isInstaller(place) && isOfASlice(place.container, record, settings));
  if (marked.length === 0) return [];
  const patch = new Patch();
  for (const place of marked) restoreContainer(patch, place, record, settings);
  const mounted = stillMounted(all, marked);
  removeVolumes(patch, pod, mounted);
  removeRequirements(patch, spec, record.requirements, settings.nodeRequirements);
  const written = new Set<string>([SLICE_ANNOTATIONS.status, SLICE_ANNOTATIONS.record]);
  for (const key of Object.keys(metadata.annotations ?? {})) {
    if (written.has(key) || key.endsWith(CONTAINER_ANNOTATIONS.quota)) {
      patch.remove(`/metadata/annotations/${escapePathComponent(key)}`);
    }
  }
  // Last, as it moves the places of all other init containers; not where somebody else mounts what it brings.
  const installer = all.find((place) => isInstaller(place));
  if (installer !== undefined && !mounted.has(VOLUMES.library)) {
    patch.remove(
      spec.initContainers?.length === 1 ? '/spec/initContainers' : `/spec/initContainers/${installer.index}`,
    );
  }
  return patch.operations;
}

function isOfASlice(container: Container, record: ReadRecord, settings: SliceSettings): boolean {
  if (isMarked(container)) return true;
  const gpus = countOf(container, settings.gpuResource);
  return gpus !== 'odd' && heldBy(container, gpus, record, settings) !== undefined;
}

function restoreContainer(
  patch: Patch,
  { container, list, index }: Place,
  record: ReadRecord,
  settings: SliceSettings,
): void {
  const path = `/spec/${list}/${index}`;
  exchangeBack(patch, `${path}/resources`, container, record, settings);
  unload(patch, path, container);
  const mounts = container.volumeMounts ?? [];
  for (let at = mounts.length - 1; at >= 0; at -= 1) {
    const mount = mounts[at];
    if (mount !== undefined && isOurs(mount)) patch.remove(`${path}/volumeMounts/${at}`);
  }
}

/** Whole GPUs in the place of what they were exchanged for, in limits and, where it was there, in requests. */
function exchangeBack(
  patch: Patch,
  path: string,
  container: Container,
  record: ReadRecord,
  settings: SliceSettings,
): void {
  const { gpuResource } = settings;
  const whole = countOf(container, gpuResource);
  if (whole === 'odd') return;
  const { resource, gpus } =
    heldBy(container, whole, record, settings) ?? beside(container, whole, record, gpuResource) ?? {};
  if (resource === undefined || gpus === undefined) return;
  for (const list of ['limits', 'requests'] as const) {
    const map = container.resources?.[list];
    if (map === undefined || !Object.hasOwn(map, resource)) continue;
    if (resource !== gpuResource) patch.remove(`${path}/${list}/${escapePathComponent(resource)}`);
    patch.set(`${path}/${list}`, map, gpuResource, String(gpus));
  }
}

/** What it was given, and whole GPUs beside it: somebody has put them back by hand. */
function beside(
  container: Container,
  gpus: number,
  { containers }: ReadRecord,
  gpuResource: string,
): { readonly resource: string; readonly gpus: number } | undefined {
  const resource = containers.get(container.name)?.[1];
  if (gpus === 0 || resource === undefined || resource === gpuResource) return undefined;
  return isMarked(container) && countOf(container, resource) !== 0 ? { resource, gpus } : undefined;
}

/** Volumes that are mounted once our mounts are gone: a container without GPUs may have one of ours, too. */
function stillMounted(all: readonly Place[], marked: readonly Place[]): Set<string> {
  const freed = new Set(marked.map(({ container }) => container));
  const mounted = new Set<string>();
  for (const place of all) {
    if (isInstaller(place)) continue;
    for (const mount of place.container.volumeMounts ?? []) {
      if (!freed.has(place.container) || !isOurs(mount)) mounted.add(mount.name);
    }
  }
  return mounted;
}

function removeVolumes(patch: Patch, { spec }: Pod, mounted: ReadonlySet<string>): void {
  const volumes = spec.volumes ?? [];
  for (let index = volumes.length - 1; index >= 0; index -= 1) {
    const name = volumes[index]?.name ?? '';
    if (isOurVolume(name) && !mounted.has(name)) patch.remove(`/spec/volumes/${index}`);
  }
}
