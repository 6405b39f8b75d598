// SPDX-License-Identifier: Apache-2.0
// Which containers ask for GPUs, as the pod was before we changed it: the record says what a sliced container asked for.
import { parseQuantity } from '#kube/quantity.ts';
import type { SliceSettings } from './context.ts';
import type { Container, Place, Pod } from './pod.ts';
import { MAX_COUNT, readRecord } from './record.ts';
import type { ReadRecord } from './record.ts';
import { isMarked } from './volumes.ts';

export interface GpuPlace extends Place {
  readonly gpus: number;
  /** What it asks for at this moment: whole GPUs, or what an earlier pass made of them. */
  readonly current: { readonly resource: string; readonly units: number };
  readonly sliced: boolean;
  /** Sliced, and it still asks for what it was given. */
  readonly intact: boolean;
}

/** What an earlier pass has left of a container's GPUs. */
interface Held {
  /** Whole GPUs that it asked for; one where nobody knows any more. */
  readonly gpus: number;
  readonly resource: string;
  readonly units: number;
  readonly intact: boolean;
}

/** The containers that ask for GPUs, or `odd` where a count is none that the API server would take. */
export function gpuPlaces(pod: Pod, places: readonly Place[], settings: SliceSettings): GpuPlace[] | 'odd' {
  const { gpuResource } = settings;
  const found: GpuPlace[] = [];
  const record = readRecord(pod);
  for (const place of places) {
    const gpus = countOf(place.container, gpuResource);
    if (gpus === 'odd') return 'odd';
    const held = heldBy(place.container, gpus, record, settings);
    if (held !== undefined) {
      const { resource, units, intact } = held;
      found.push({ ...place, gpus: held.gpus, current: { resource, units }, sliced: true, intact });
    } else if (gpus > 0) {
      const current = { resource: gpuResource, units: gpus };
      found.push({ ...place, gpus, current, sliced: false, intact: false });
    }
  }
  return found;
}

/** Units of an extended resource: limits and requests must be the same whole number, one of them may be absent. */
export function countOf({ resources }: Container, resource: string): number | 'odd' {
  const limit = valueOf(resources?.limits, resource);
  const request = valueOf(resources?.requests, resource);
  if (limit === undefined && request === undefined) return 0;
  const count = parseQuantity(limit ?? request);
  if (count === undefined || !Number.isInteger(count) || count < 0 || count > MAX_COUNT) return 'odd';
  return request !== undefined && parseQuantity(request) !== count ? 'odd' : count;
}

/**
 * The pod was made of one that has been through here, or this is a second pass. Undefined: the container is none of ours, or asks
 * for whole GPUs again.
 */
export function heldBy(
  container: Container,
  gpus: number,
  record: ReadRecord,
  settings: Pick<SliceSettings, 'gpuResource' | 'preference'>,
): Held | undefined {
  const given = record.containers.get(container.name);
  const { gpuResource } = settings;
  if (given === undefined)
    return gpus === 0 && isMarked(container) ? heldAsCopy(container, record, settings) : undefined;
  const [asked, resource, units] = given;
  if (resource === gpuResource) {
    // Slots that are called GPUs: without our mounts, or with another number, they are what somebody asked for.
    return gpus === units && isMarked(container) ? { gpus: asked, resource, units, intact: true } : undefined;
  }
  const now = gpus > 0 ? 0 : countOf(container, resource);
  return now === 'odd' || now === 0 ? undefined : { gpus: asked, resource, units: now, intact: now === units };
}

/**
 * A container that was copied under another name, or whose pod was copied without its annotations (kubectl debug --copy-to): it asks for
 * what the one that it was copied from was given. That is of the record's, the administrator's or the GPUs' own family of names.
 */
function heldAsCopy(
  container: Container,
  { resources }: ReadRecord,
  { gpuResource, preference }: Pick<SliceSettings, 'gpuResource' | 'preference'>,
): Held | undefined {
  const family = gpuResource.slice(0, gpuResource.indexOf('/') + 1);
  const asked = Object.keys({ ...container.resources?.limits, ...container.resources?.requests });
  const near = family === '' ? [] : asked.filter((name) => name.startsWith(family));
  for (const resource of new Set([...resources, ...preference, ...near])) {
    const units = resource === gpuResource ? 0 : countOf(container, resource);
    if (units !== 'odd' && units > 0) return { gpus: 1, resource, units, intact: false };
  }
  return undefined;
}

/** Names come from annotations: what every object inherits is none of its members. */
function valueOf(map: Readonly<Record<string, unknown>> | undefined, key: string): unknown {
  return map && Object.hasOwn(map, key) ? map[key] : undefined;
}
