// SPDX-License-Identifier: Apache-2.0
// NVIDIA_VISIBLE_DEVICES: the device plugin tells the container runtime by it which cards a container gets. The kubelet puts what the pod
// says after that, so a pod that sets it sees cards of which it has no slot, and of which no limit was reckoned for it.
import { VISIBLE_DEVICES } from '#crds/names.ts';
import { showsDevices } from '#crds/visible-devices.ts';
import type { Container, Place } from './pod.ts';

/** Names in a warning. */
const MAX_NAMED = 4;

/** Of a pod with slices, for people; at most one sentence. */
export function visibleWarnings(all: readonly Place[]): string[] {
  const names = all.flatMap(({ container }) => (opensDevices(container) ? [container.name] : []));
  if (names.length === 0) return [];
  const shown = names.slice(0, MAX_NAMED).join(', ');
  const of = names.length > MAX_NAMED ? `${shown} and ${names.length - MAX_NAMED} more` : shown;
  return [`${of}: env ${VISIBLE_DEVICES.variable} can open GPUs beyond the slots, without a limit; take it out`];
}

/** The last entry of a name holds; what is found elsewhere cannot be known, and there is no good reason for it. */
function opensDevices({ env }: Container): boolean {
  const entry = env?.findLast(({ name }) => name === VISIBLE_DEVICES.variable);
  return entry !== undefined && showsDevices(entry);
}
