// SPDX-License-Identifier: Apache-2.0
// How a slice came about, in words: the annotation that a person reads with kubectl describe.
import { gibibytes } from './amounts.ts';
import type { Choice, Grant } from './choose.ts';
import type { Ask } from './fit.ts';

/** Annotations of a pod hold 256 KiB in all; this is for reading. */
const MAX_STATUS = 4096;
/** `nvidia.com/mig-1g.10gb` */
const MIG_PROFILE = /\/mig-([^/]+)$/;

export function statusOf(
  asks: readonly Ask[],
  choice: Extract<Choice, { kind: 'share' }>,
  gpuResource: string,
  dryRun: boolean,
): string {
  const lines = asks.map((ask, index) => {
    const grant = choice.grants[index];
    return grant === undefined ? '' : describe(ask, grant, choice.nodes, gpuResource);
  });
  return shortened(`${dryRun ? 'dry run, nothing was changed; it would be: ' : ''}${lines.join('; ')}`);
}

/** Of a pod that asked and gets none. */
export function wholeStatus(why: string, dryRun: boolean): string {
  const what = dryRun ? 'dry run, nothing was changed; it would keep its whole GPUs' : NOT_SLICED;
  return shortened(`${what}: ${why}`);
}

export const NOT_SLICED = 'not sliced, keeps its whole GPUs';

function describe({ container, gpus, size }: Ask, grant: Grant, nodes: number, gpuResource: string): string {
  const { units, quota, resource, smallest } = grant;
  const each = gpus === 1 ? 'on the GPU' : 'on each GPU';
  const asked = `${container}: ${units} × ${resource} for ${gpus} × ${gpuResource}`;
  const card = `${partOf(grant)} (node ${smallest.node}, the smallest of ${nodes})`;
  const origin = size.kind === 'vram' ? `asked for, within ${card}` : card;
  return `${asked}; ${gibibytes(quota)} (${quota} bytes) ${each}: ${origin}; by ${size.from}`;
}

/** An instance of MIG has its memory to itself, whatever the card holds beside it. */
function partOf({ slots, resource, smallest }: Grant): string {
  const { mode, slotsPerGPU, cardMemory } = smallest;
  const profile = MIG_PROFILE.exec(resource)?.[1];
  if (mode === 'MIG' && profile !== undefined) return `MIG profile ${profile}`;
  return `${slots} of ${slotsPerGPU} slots of ${gibibytes(cardMemory)}`;
}

function shortened(text: string): string {
  return text.length > MAX_STATUS ? `${text.slice(0, MAX_STATUS - 1)}…` : text;
}
