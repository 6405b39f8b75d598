// SPDX-License-Identifier: Apache-2.0
import { parseQuantity } from '#kube/quantity.ts';
import { amountOf } from '../slice/amounts.ts';
import type { SharedOffer } from '../slice/inventory.ts';
import type { Note } from './findings.ts';
import type { ResourceLabels } from './gpu-labels.ts';
import { isExtended } from './node-facts.ts';
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

/** Units of every extended resource that the node has. */
export function advertisedBy(facts: NodeFacts): ReadonlyMap<string, number> {
  const allocatable = Object.keys(facts.allocatable).filter((name) => isExtended(name));
  const names = new Set([...Object.keys(facts.capacity), ...allocatable]);
  return new Map(
    [...names]
      .toSorted()
      .map((name) => [name, unitsOf(facts, name)] as const)
      .filter(([, units]) => units > 0),
  );
}

/** What is to be had at this moment of every resource. */
export function allocatableOf(facts: NodeFacts): ReadonlyMap<string, number> {
  return new Map(
    Object.entries(facts.allocatable).map(([resource, quantity]) => [resource, amountOf(resource, quantity)]),
  );
}

/** By its capacity: a sick card may get well, and while a plugin is restarted nothing is allocatable. */
export function unitsOf(facts: NodeFacts, resource: string): number {
  return Math.max(whole(facts.capacity[resource]), whole(facts.allocatable[resource]));
}

/** Extended resources are whole numbers, written as quantities: a thousand units are `1k`. */
function whole(value: unknown): number {
  const number = Math.floor(parseQuantity(value) ?? 0);
  return Number.isSafeInteger(number) && number > 0 ? number : 0;
}
