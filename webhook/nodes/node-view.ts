// SPDX-License-Identifier: Apache-2.0
import { parseQuantity } from '#kube/quantity.ts';
import type { SharedOffer } from '../slice/inventory.ts';
import type { Note } from './findings.ts';
import type { ResourceLabels } from './gpu-labels.ts';
import type { NodeFacts } from './node-facts.ts';
import type { PlacementSharing, SharedResource } from './sharing.ts';

/** What the administrator says of all nodes. */
export interface NodeSettings {
  /** Name of whole GPUs: `nvidia.com/gpu`. */
  readonly gpuResource: string;
  readonly sharedResources: readonly SharedResource[];
}

/** One node on its way to its offers: what it says itself, and what is said about it. */
export interface NodeView {
  readonly facts: NodeFacts;
  readonly settings: NodeSettings;
  /** Only those that are about this node, none of them Exclusive. */
  readonly placements: readonly PlacementSharing[];
  readonly cardLabels: ResourceLabels;
  readonly note: Note;
}

/** An offer, and what can be told from it about the node's cards. */
export interface FoundOffer {
  readonly offer: SharedOffer;
  readonly cards: number;
}

export interface Units {
  /** Of healthy and sick cards: what the plugin splits them into. */
  readonly capacity: number;
  readonly allocatable: number;
}

export function unitsOf(facts: NodeFacts, resource: string): Units {
  const allocatable = whole(facts.allocatable[resource]);
  return { capacity: Math.max(whole(facts.capacity[resource]), allocatable), allocatable };
}

/** Extended resources are whole numbers, written as quantities: a thousand units are `1k`. */
function whole(value: unknown): number {
  const number = Math.floor(parseQuantity(value) ?? 0);
  return Number.isSafeInteger(number) && number > 0 ? number : 0;
}
