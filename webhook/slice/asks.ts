// SPDX-License-Identifier: Apache-2.0
// Which containers ask for GPUs, as the pod was before we changed it: the record says what a sliced container asked for.
import { SLICE_ANNOTATIONS } from '#crds/names.ts';
import { parseQuantity } from '#kube/quantity.ts';
import { PATHS, VOLUMES } from './names.ts';
import type { Container, Place, Pod } from './pod.ts';

/** What a container has been given: GPUs it asked for, resource and units it got. */
export type Given = readonly [gpus: number, resource: string, units: number];

export interface GpuPlace extends Place {
  readonly gpus: number;
  /** What it asks for at this moment: whole GPUs, or what an earlier pass made of them. */
  readonly current: { readonly resource: string; readonly units: number };
  readonly sliced: boolean;
}

interface Record1 {
  readonly v: 1;
  readonly containers: Readonly<Record<string, Given>>;
}

/** More than any pod can have of a resource; keeps all sums exact. */
const MAX_COUNT = 1_000_000;
/** The record of some hundred containers; a longer one is not ours. */
const MAX_RECORD = 32_768;

/** The containers that ask for GPUs, or `odd` where a count is none that the API server would take. */
export function gpuPlaces(pod: Pod, places: readonly Place[], gpuResource: string): GpuPlace[] | 'odd' {
  const found: GpuPlace[] = [];
  let record: Record1['containers'] | undefined;
  for (const place of places) {
    const gpus = countOf(place.container, gpuResource);
    if (gpus === 'odd') return 'odd';
    const given = isPrepared(place.container) ? (record ??= readRecord(pod))[place.container.name] : undefined;
    if (given !== undefined && stillHolds(place.container, given, gpus, gpuResource)) {
      found.push({ ...place, gpus: given[0], current: { resource: given[1], units: given[2] }, sliced: true });
    } else if (gpus > 0) found.push({ ...place, gpus, current: { resource: gpuResource, units: gpus }, sliced: false });
  }
  return found;
}

/** Units of an extended resource: limits and requests must be the same whole number, one of them may be absent. */
export function countOf({ resources }: Container, resource: string): number | 'odd' {
  const limit = resources?.limits?.[resource];
  const request = resources?.requests?.[resource];
  if (limit === undefined && request === undefined) return 0;
  const count = parseQuantity(limit ?? request);
  if (count === undefined || !Number.isInteger(count) || count < 0 || count > MAX_COUNT) return 'odd';
  return request !== undefined && parseQuantity(request) !== count ? 'odd' : count;
}

export function recordOf(given: ReadonlyMap<string, Given>): string {
  return JSON.stringify({ v: 1, containers: Object.fromEntries(given) });
}

/** The pod was made of one that has been through here, or this is a second pass. */
function stillHolds(container: Container, [, resource, units]: Given, gpus: number, gpuResource: string): boolean {
  return countOf(container, resource) === units && (resource === gpuResource || gpus === 0);
}

function isPrepared({ volumeMounts }: Container): boolean {
  return (
    volumeMounts?.some(({ name, mountPath }) => mountPath === PATHS.region && name.startsWith(VOLUMES.region)) ?? false
  );
}

/** Written by us, but kept by users: anything that is not as we write it counts as absent. */
export function readRecord(pod: Pod): Record1['containers'] {
  const text = pod.metadata.annotations?.[SLICE_ANNOTATIONS.record];
  if (text === undefined || text.length > MAX_RECORD) return {};
  try {
    const { v, containers } = JSON.parse(text) as Partial<Record1>;
    if (v !== 1 || typeof containers !== 'object' || containers === null) return {};
    return Object.fromEntries(Object.entries(containers).filter(([, given]) => isGiven(given)));
  } catch {
    return {};
  }
}

function isGiven(given: unknown): given is Given {
  if (!Array.isArray(given) || given.length !== 3) return false;
  const [gpus, resource, units] = given as unknown[];
  return isCount(gpus) && typeof resource === 'string' && isCount(units);
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value > 0 && value <= MAX_COUNT;
}
