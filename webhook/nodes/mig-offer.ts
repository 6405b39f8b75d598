// SPDX-License-Identifier: Apache-2.0
// Instances of MIG: one resource for each profile (strategy mixed), or in place of the whole card (strategy single).
import type { Note } from './findings.ts';
import { readResourceLabels } from './gpu-labels.ts';
import { unitsOf } from './node-view.ts';
import type { FoundOffer, NodeView } from './node-view.ts';
import { statementOf } from './sharing.ts';

/** `nvidia.com/mig-1g.10gb`, `…-1g.10gb.me`, `…-1c.3g.20gb`, each also with `.shared`. */
const MIG_RESOURCE = /^(nvidia\.com\/mig-(?:(\d)c\.)?(\d)g\.\d{1,4}gb(?:\.me(?:\.all)?)?)(\.shared)?$/;

/** Compute slices of every card that can do MIG. */
const SLICES_OF_CARD = 7;

export function isMigResource(resource: string): boolean {
  return MIG_RESOURCE.test(resource);
}

/** One instance is one slot: its memory is its own, whatever is asked of the others. */
export function migOffer(view: NodeView, resource: string): FoundOffer | undefined {
  const { facts, settings, placements, cardLabels, note } = view;
  const [, profile = resource, compute, slices = '1'] = MIG_RESOURCE.exec(resource) ?? [];
  const allocatable = unitsOf(facts, resource);
  if (allocatable < 1) return undefined;
  const labels = readResourceLabels(facts.metadata.labels ?? {}, note, profile);
  const said = statementOf(resource, true, settings.sharedResources, placements, note);
  const replicas = Math.max(labels.replicas ?? 1, said.slots ?? 1);
  if (replicas > 1 && labels.count !== undefined && allocatable > labels.count * replicas) {
    note(
      'MoreUnitsThanSlots',
      `${allocatable} units of ${resource} are more than ${labels.count} instances × ${replicas}; not used`,
    );
    return undefined;
  }
  // Compute instances share the memory of their GPU instance, of which the label tells the whole.
  const share = compute === undefined ? 1 : Math.min(1, Number(compute) / Number(slices));
  const own = labels.memory === undefined ? undefined : Math.floor((labels.memory * share) / replicas);
  const memoryPerSlot = memoryOf(resource, own, said.memoryPerSlot, note);
  if (memoryPerSlot === undefined) return undefined;
  const slotsPerGPU = instancesOf(Number(slices)) * replicas;
  return {
    offer: { resource, mode: 'MIG', slotsPerGPU, memoryPerSlot, allocatable, refusesMultiple: true, onOneCard: true },
    cards: cardLabels.count ?? 1,
  };
}

/** How many instances of so many slices a card could hold. Only one of all seven is a whole card; a card may hold others beside it. */
function instancesOf(slices: number): number {
  return slices >= SLICES_OF_CARD ? 1 : Math.max(2, Math.floor(SLICES_OF_CARD / slices));
}

function memoryOf(resource: string, own: number | undefined, said: number | undefined, note: Note): number | undefined {
  if (own === undefined && said === undefined) {
    note(
      'MemoryUnknown',
      `nothing says how much memory ${resource} has; its label .memory or memoryPerSlot in the policy would`,
    );
  }
  if (own !== undefined && said !== undefined && said > own) {
    note(
      'MemoryAboveCard',
      `memoryPerSlot of ${resource} is said to be ${said} bytes, but a unit has ${own}; ${own} holds`,
    );
    return own;
  }
  return said ?? own;
}

/**
 * Strategy single: the labels of the card are those of the instances, so the node counts as one of many small cards. How many
 * of them a real card holds no label tells, and nobody needs it: each has its memory to itself.
 */
export function singleMigOffer({ facts, settings, cardLabels, note }: NodeView): FoundOffer | undefined {
  const resource = settings.gpuResource;
  const allocatable = unitsOf(facts, resource);
  if (allocatable < 1) return undefined;
  const { memory, count } = cardLabels;
  if (memory === undefined || count === undefined) {
    note(
      'MemoryUnknown',
      `nothing says how much memory an instance has; labels nvidia.com/gpu.memory and nvidia.com/gpu.count would`,
    );
    return undefined;
  }
  return {
    offer: {
      resource,
      mode: 'MIG',
      slotsPerGPU: 1,
      memoryPerSlot: memory,
      allocatable,
      refusesMultiple: true,
      onOneCard: true,
    },
    cards: count,
  };
}
