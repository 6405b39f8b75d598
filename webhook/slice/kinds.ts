// SPDX-License-Identifier: Apache-2.0
// Labels by which nodes are of a kind: no node that has them, whenever it joins, has slots of less memory than the quota was reckoned for.
import type { Grant } from './choose.ts';
import type { NodeRequirement } from './context.ts';
import type { GpuNode } from './inventory.ts';
import { labelOf } from './node-match.ts';

/** Labels of GPU feature discovery. */
const COUNT = 'nvidia.com/gpu.count';
const REPLICAS = 'nvidia.com/gpu.replicas';
const MEMORY = 'nvidia.com/gpu.memory';
const MIB = 2 ** 20;
/** A pod that lists more than these is unwieldy for the scheduler and for people. */
const MAX_VALUES = 64;

/** `isInstance`: of MIG, whose memory is that of its profile, into however many a card is split. */
export interface Share extends Pick<Grant, 'slots' | 'quota'> {
  readonly isInstance: boolean;
}

/**
 * Those of `serving` whose labels can be required at once. A requirement is about one label: slots of one kind and memory of another
 * would be let in, too, and such a node's slots could be smaller than those of both. So of kinds that do not go together those are
 * left out that are fewer; as are nodes without the labels, unless they are the most, when nothing can be required at all.
 */
export function ofOneKind(serving: readonly GpuNode[], shares: readonly Share[]): readonly GpuNode[] {
  const ofCards = shares.filter(({ isInstance }) => !isInstance);
  const counted = isCounted(serving, shares);
  const labelled = serving.filter(
    (node) => slotsOf(node) > 0 && memoryOf(node) > 0 && !(counted && labelOf(node, COUNT) === undefined),
  );
  if (ofCards.length === 0 || labelled.length === 0) return serving;
  let best: readonly GpuNode[] = [];
  const splits = [...new Set(labelled.map(slotsOf))].toSorted((a, b) => b - a).slice(0, MAX_VALUES);
  for (const most of splits) {
    const kind = labelled.filter(
      (node) => slotsOf(node) <= most && ofCards.every(({ slots, quota }) => holds(memoryOf(node), most, slots, quota)),
    );
    if (kind.length > best.length) best = kind;
  }
  return best.length === 0 || serving.length - labelled.length > best.length ? serving : best;
}

/** Split into as many slots, cards with as much memory, and as many cards where that counts; each where all of them have the label. */
export function pinsOf(nodes: readonly GpuNode[], shares: readonly Share[]): NodeRequirement[] {
  const found: NodeRequirement[] = [];
  const replicas = valuesOf(nodes, REPLICAS);
  if (replicas !== undefined) found.push({ key: REPLICAS, operator: 'In', values: replicas });
  const memory = nodes.reduce((least, node) => Math.min(least, memoryOf(node)), Number.POSITIVE_INFINITY);
  if (memory > 0) found.push({ key: MEMORY, operator: 'Gt', values: [String(memory - 1)] });
  const counts = isCounted(nodes, shares) ? valuesOf(nodes, COUNT) : undefined;
  if (counts !== undefined) found.push({ key: COUNT, operator: 'In', values: counts });
  return found;
}

/** Several slots of one card are sure where there is one; several nodes with more have a plugin that packs. */
function isCounted(nodes: readonly GpuNode[], shares: readonly Share[]): boolean {
  return shares.some(({ slots }) => slots > 1) && nodes.some(({ cards }) => cards === 1);
}

function holds(mebibytes: number, split: number, slots: number, quota: number): boolean {
  return Math.floor((slots * mebibytes * MIB) / split) >= quota;
}

function slotsOf(node: GpuNode): number {
  return numberOf(node, REPLICAS);
}

/** MiB. */
function memoryOf(node: GpuNode): number {
  return numberOf(node, MEMORY);
}

/** 0 for what is none, or absent. */
function numberOf(node: GpuNode, key: string): number {
  const value = Number(labelOf(node, key));
  return Number.isSafeInteger(value) && value > 0 ? value : 0;
}

/** The values of a label, sorted; undefined where a node does not have it, or they are too many. */
export function valuesOf(nodes: readonly GpuNode[], key: string): string[] | undefined {
  const values = new Set<string>();
  for (const node of nodes) {
    const value = labelOf(node, key);
    if (value === undefined) return undefined;
    values.add(value);
  }
  return values.size > MAX_VALUES ? undefined : [...values].sort();
}
