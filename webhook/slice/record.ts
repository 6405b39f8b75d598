// SPDX-License-Identifier: Apache-2.0
// What a sliced pod was before, kept in an annotation: for second passes, and to make the pod whole again.
import { SLICE_ANNOTATIONS } from '#crds/names.ts';
import type { NodeRequirement } from './context.ts';
import type { Pod } from './pod.ts';

/** What a container has been given: GPUs it asked for, resource and units it got. */
export type Given = readonly [gpus: number, resource: string, units: number];

export interface SliceRecord {
  readonly containers: ReadonlyMap<string, Given>;
  /** Node requirements that came with the slices, in each term of the pod's required node affinity. */
  readonly requirements: readonly NodeRequirement[];
}

/** As it is read: with the resources that containers were given, each once. */
export interface ReadRecord extends SliceRecord {
  readonly resources: ReadonlySet<string>;
}

/** More than any pod can have of a resource; keeps all sums exact. */
export const MAX_COUNT = 1_000_000;
/** The record of some hundred containers; a longer one is not ours. */
export const MAX_RECORD = 32_768;
/** What an administrator states, and the labels by which nodes are told apart. */
const MAX_REQUIREMENTS = 64;

/** One for all containers, or profiles of MIG; each is looked for in each container that was copied. */
const MAX_RESOURCES = 32;

const NOTHING: ReadRecord = { containers: new Map(), requirements: [], resources: new Set() };

export function writeRecord({ containers, requirements }: SliceRecord): string {
  const record = { v: 1, containers: Object.fromEntries(containers) };
  return JSON.stringify(requirements.length > 0 ? { ...record, requirements } : record);
}

/** Written by us, but kept by users: anything that is not as we write it counts as absent. */
export function readRecord({ metadata }: Pod): ReadRecord {
  const text = metadata.annotations?.[SLICE_ANNOTATIONS.record];
  if (text === undefined || text.length > MAX_RECORD) return NOTHING;
  try {
    const { v, containers, requirements } = JSON.parse(text) as Readonly<Record<string, unknown>>;
    if (v !== 1 || typeof containers !== 'object' || containers === null) return NOTHING;
    const given = Object.entries(containers).filter((entry): entry is [string, Given] => isGiven(entry[1]));
    const list: unknown[] = Array.isArray(requirements) ? requirements.slice(0, MAX_REQUIREMENTS) : [];
    const resources = [...new Set(given.map(([, [, resource]]) => resource))].slice(0, MAX_RESOURCES);
    return {
      containers: new Map(given),
      requirements: list.filter((one) => isRequirement(one)),
      resources: new Set(resources),
    };
  } catch {
    return NOTHING;
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

function isRequirement(one: unknown): one is NodeRequirement {
  if (typeof one !== 'object' || one === null) return false;
  const { key, operator, values = [] } = one as Readonly<Record<string, unknown>>;
  const texts: unknown[] | undefined = Array.isArray(values) ? values : undefined;
  return (
    typeof key === 'string' &&
    typeof operator === 'string' &&
    (texts?.every((text) => typeof text === 'string') ?? false)
  );
}
