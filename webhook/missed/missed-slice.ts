// SPDX-License-Identifier: Apache-2.0
// Whether a pod that exists got what it asked for: a pure function of the pod and of what would be decided on it today.
import { countOf, gpuPlaces } from '../slice/asks.ts';
import type { SliceContext } from '../slice/context.ts';
import { deliveredBy } from '../slice/delivery.ts';
import { joinSlices } from '../slice/ephemeral.ts';
import { VOLUMES } from '../slice/names.ts';
import { Patch } from '../slice/patch.ts';
import { places } from '../slice/pod.ts';
import type { Container, Pod } from '../slice/pod.ts';
import { preload } from '../slice/preload.ts';
import { readRecord } from '../slice/record.ts';
import { slicePod } from '../slice/slice-pod.ts';
import { addInitContainer, numberOf, setMounts } from '../slice/volumes.ts';

/**
 * `whole`: it has whole GPUs and would be given slices. `unprotected`: it has slices, and something of what holds it to its share is
 * missing. `invalid`: it would have been refused.
 */
export const MISSED_KINDS = ['whole', 'unprotected', 'invalid'] as const;
export type MissedKind = (typeof MISSED_KINDS)[number];

export interface MissedSlice {
  readonly kind: MissedKind;
  /** A sentence for people. */
  readonly why: string;
}

/** A pod of the API server; what slicing does not read is not named. */
export interface LivePod extends Pod {
  readonly metadata: Pod['metadata'] & {
    readonly name: string;
    readonly uid?: string;
    readonly deletionTimestamp?: string;
  };
  readonly status?: { readonly phase?: string };
}

/** Undefined: nothing was missed, or nothing can be said. */
export function missedSlice(pod: LivePod, context: SliceContext): MissedSlice | undefined {
  if (pod.metadata.deletionTimestamp !== undefined || isOver(pod)) return undefined;
  const gap = injectionGap(pod);
  if (gap !== undefined) return { kind: 'unprotected', why: `It has a slice of a GPU, but ${gap}.` };
  // As it was when it was created: where it is now is where a whole GPU was to be had.
  const { nodeName: _node, ...spec } = pod.spec;
  const { outcome, causes, rule } = slicePod({ ...pod, spec }, context);
  if (outcome === 'refused') {
    const said = causes?.map(({ field, message }) => `${field}: ${message}`).join('; ') ?? '';
    return { kind: 'invalid', why: `It would have been refused: ${said}.` };
  }
  if (outcome !== 'mutated') return undefined;
  // Of one that has its slices already another would be made today: the cluster has changed, nothing was missed.
  const asking = gpuPlaces(pod, places(pod.spec), context.settings);
  if (asking !== 'odd' && asking.every(({ sliced }) => sliced)) return undefined;
  const by =
    rule === undefined
      ? 'it asks for a slice itself: it was created while'
      : `rule ${rule} of the policy gives it a slice: it was created before that rule, or while`;
  return { kind: 'whole', why: `It has whole GPUs, but ${by} no webhook, or no node, could serve it.` };
}

function isOver({ status }: LivePod): boolean {
  return status?.phase === 'Succeeded' || status?.phase === 'Failed';
}

/** What is missing of what the webhook puts into a pod, for people; undefined where the pod has no slices. */
function injectionGap(pod: Pod): string | undefined {
  const { containers } = readRecord(pod);
  const sliced = places(pod.spec).flatMap(({ container }) => {
    const given = containers.get(container.name);
    // A record that does not fit was copied from elsewhere.
    return given !== undefined && countOf(container, given[1]) === given[2] ? [container] : [];
  });
  if (sliced.length === 0) return undefined;
  const bare = sliced.filter((container) => !isInjected(container)).map(({ name }) => name);
  if (bare.length > 0) return `nothing holds container ${bare.join(', ')} to its share`;
  const patch = new Patch();
  const kind = deliveredBy(pod.spec.volumes?.find(({ name }) => name === VOLUMES.library));
  if (kind === undefined || kind === 'foreign') return `volume ${VOLUMES.library} is not Penstock's`;
  addInitContainer(patch, pod.spec, { kind, image: '' });
  if (patch.operations.length > 0) return 'the init container that brings the library is missing or not the first';
  const { operations } = joinSlices(pod, { ...pod, spec: { ...pod.spec, ephemeralContainers: [] } });
  return operations.length > 0
    ? 'nothing holds an ephemeral container to the share of the one it looks into'
    : undefined;
}

/** Nothing would be added to it: the same question that a second pass asks. */
function isInjected(container: Container): boolean {
  const number = numberOf(container);
  if (number === undefined) return false;
  const patch = new Patch();
  preload(patch, '', container);
  setMounts(patch, '', container, number);
  return patch.operations.length === 0;
}
