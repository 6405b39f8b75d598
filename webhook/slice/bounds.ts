// SPDX-License-Identifier: Apache-2.0
// How much of a pod is looked at. A request may be some MiB: what is above these passes as it is, in the time that it takes to count.
import type { GpuPlace } from './asks.ts';
import { MAX_NEEDS } from './needs.ts';
import type { Needs } from './needs.ts';
import { placementExcess } from './placement.ts';
import type { Pod, PodSpec } from './pod.ts';

/** A pod of a hundred containers is large. */
const MAX_CONTAINERS = 512;
/** Containers that ask for GPUs; no node has more cards, and each is held against each offer of each node. */
const MAX_ASKING = 16;
const MAX_VOLUMES = 2048;
/** All annotations together may have 256 KiB. */
const MAX_ANNOTATIONS = 4096;
/** Keys and values of all annotations, in bytes (TotalAnnotationSizeLimitB of the API server). */
const MAX_ANNOTATION_BYTES = 256 * 1024;

/** Why there are more containers than are looked at, for people. To be asked before anything is done for each of them. */
export function crowded({ containers, initContainers, ephemeralContainers }: PodSpec): string | undefined {
  const count = containers.length + (initContainers?.length ?? 0) + (ephemeralContainers?.length ?? 0);
  return count > MAX_CONTAINERS ? `it has ${count} containers, more than ${MAX_CONTAINERS}` : undefined;
}

/** Why the pod is otherwise more than is looked at, for people. */
export function excess(
  { metadata, spec }: Pod,
  asking: readonly GpuPlace[],
  needs: Needs | undefined,
): string | undefined {
  if (needs === undefined) return `it asks for more than ${MAX_NEEDS} kinds of resources`;
  const counts: readonly (readonly [number, number, string])[] = [
    [asking.length, MAX_ASKING, 'containers with GPUs'],
    [spec.volumes?.length ?? 0, MAX_VOLUMES, 'volumes'],
    [Object.keys(metadata.annotations ?? {}).length, MAX_ANNOTATIONS, 'annotations'],
  ];
  const over = counts.find(([count, limit]) => count > limit);
  return over === undefined ? placementExcess(spec) : `it has ${over[0]} ${over[2]}, more than ${over[1]}`;
}

/** The API server refuses a pod with more: one that was near it would not be created for the sake of its slices. */
export function overflows({ metadata }: Pod, wanted: ReadonlyMap<string, string>): boolean {
  let bytes = 0;
  for (const [key, value] of wanted) bytes += sizeOf(key, value);
  for (const [key, value] of Object.entries(metadata.annotations ?? {})) {
    if (!wanted.has(key)) bytes += sizeOf(key, value);
  }
  return bytes > MAX_ANNOTATION_BYTES;
}

function sizeOf(key: string, value: string): number {
  return Buffer.byteLength(key) + Buffer.byteLength(value);
}
