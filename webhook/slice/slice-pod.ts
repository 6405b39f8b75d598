// SPDX-License-Identifier: Apache-2.0
// The decision on one pod, also on one that was made of the manifest of a sliced pod.
import jsonPatch from 'fast-json-patch';
import type { Operation } from 'fast-json-patch';
import { chooseNow } from './choices.ts';
import type { Chooser } from './choices.ts';
import type { NoopReason, SliceContext } from './context.ts';
import { decide } from './decision.ts';
import type { Sliced } from './decision.ts';
import type { Pod } from './pod.ts';
import { lastingRequirements } from './placement.ts';
import { readRecord } from './record.ts';
import { restore } from './restore.ts';

export type { Sliced } from './decision.ts';

/** Labels in a warning. */
const MAX_NAMED = 4;

/** With these a pod gets no slice; with others it has one, or nothing can be said of it, or it is nobody's to change. */
const UNSERVED: ReadonlySet<NoopReason> = new Set([
  'no-gpu',
  'not-asked',
  'opted-out',
  'policy-ignored',
  'windows',
  'no-node',
  'no-target',
]);

/** `choose`: another way to the same choice. */
export function slicePod(pod: Pod, context: SliceContext, choose: Chooser = chooseNow): Sliced {
  const sliced = decide(pod, context, choose);
  if (!isUnserved(sliced)) return sliced;
  const operations = restore(pod, context.settings);
  return operations.length === 0 ? sliced : restored(pod, operations, sliced, context, choose);
}

function isUnserved({ outcome, reason, wholeBecause }: Sliced): boolean {
  // What is more than is looked at is not taken apart, either.
  if (reason === 'too-large') return false;
  if (outcome === 'dry-run' || wholeBecause !== undefined) return true;
  return outcome === 'noop' && reason !== undefined && UNSERVED.has(reason);
}

/**
 * A slice that does not hold any more is no limit, and one that its author has taken back is none that he wants: the pod is made what it
 * was before, and looked at as that. What bound it to nodes of before may have been all that was in the way.
 */
function restored(
  pod: Pod,
  operations: readonly Operation[],
  before: Sliced,
  context: SliceContext,
  choose: Chooser,
): Sliced {
  const whole = jsonPatch.applyPatch(structuredClone(pod), structuredClone([...operations])).newDocument;
  const now = decide(whole, context, choose);
  const patch = [...operations, ...(now.patch ?? [])];
  if (now.outcome === 'mutated') {
    const told = 'penstock: what was left of an earlier slice did not fit any more; the pod was sliced anew';
    return { ...now, patch, warnings: [told, ...now.warnings], restored: true, again: true };
  }
  const why = now.wholeBecause ?? before.wholeBecause ?? REASONS[before.reason ?? 'no-gpu'] ?? 'it cannot be sliced';
  const told = `penstock: what was left of an earlier slice was removed, and the pod has its whole GPUs again: ${why}`;
  const others = now.wholeBecause === undefined ? now.warnings : [];
  const warnings = [told, ...lasting(pod, context), ...others];
  return { ...now, patch, warnings, wholeBecause: why, restored: true };
}

/** What came with the slice, and may as well be somebody else's: it can keep the pod off the nodes that it is to have now. */
function lasting(pod: Pod, { settings }: SliceContext): string[] {
  const stay = lastingRequirements(pod.spec, readRecord(pod).requirements, settings.nodeRequirements);
  const keys = [...new Set(stay.map(({ key }) => key))].slice(0, MAX_NAMED).join(', ');
  return keys === ''
    ? []
    : [`penstock: what its node affinity says of ${keys} stays; take it out if it came with the slice`];
}

/** For people; the others have a reason of their own. */
const REASONS: Readonly<Partial<Record<NoopReason, string>>> = {
  'no-gpu': 'no container asks for GPUs',
  'not-asked': 'it does not ask for a slice',
  'opted-out': 'it opts out',
  'policy-ignored': 'it does not ask for a slice, and the policy leaves it alone',
  windows: 'there are no slices on Windows',
};
