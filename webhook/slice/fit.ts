// SPDX-License-Identifier: Apache-2.0
// Whether one node's shared resource gives one container what it is to have, and how much memory that is. See ADR 14.
import type { Sized } from './annotations.ts';
import type { GpuNode, SharedOffer } from './inventory.ts';
import type { Phase } from './pod.ts';

/** A container that asks for `gpus` whole GPUs and is to have a part of each. */
export interface Ask {
  readonly container: string;
  readonly phase: Phase;
  readonly gpus: number;
  readonly size: Sized;
  /** What an earlier pass gave it: the requirements that came with it may make another choice look better by now. */
  readonly held?: { readonly resource: string; readonly units: number } | undefined;
}

/** A node with the resource in question. */
export interface Place {
  readonly node: GpuNode;
  readonly offer: SharedOffer;
}

/** Bytes that `slots` slots of one card stand for. Rounded once, and never above what is stated for a slot, nor above the card's part. */
export function memoryOf({ node, offer }: Place, slots: number): number {
  const share = node.cardMemory / offer.slotsPerGPU;
  // An instance of MIG is what its profile says: instances need not be equal parts of the card.
  if (offer.mode === 'MIG') return Math.min(offer.memoryPerSlot, node.cardMemory) * slots;
  return offer.memoryPerSlot < Math.floor(share)
    ? offer.memoryPerSlot * slots
    : Math.floor((slots * node.cardMemory) / offer.slotsPerGPU);
}

/** Slots of one card that hold `bytes`; Infinity where slots hold nothing. */
export function slotsFor(place: Place, bytes: number): number {
  const rough = Math.max(1, Math.ceil(bytes / Math.max(memoryOf(place, 1), 0)));
  // Rounding once for all slots can make one fewer do than rounding each.
  return rough > 1 && memoryOf(place, rough - 1) >= bytes ? rough - 1 : rough;
}

/**
 * Why `slots` slots on each GPU cannot be given to the container here, for people; undefined: they can. What stands against some
 * number stands against each larger one, too.
 * @param handedOn an init container of the pod has units, which the kubelet gives to those after it before any others
 */
export function obstacle({ node, offer }: Place, ask: Ask, slots: number, handedOn: boolean): string | undefined {
  if (slots > offer.slotsPerGPU) {
    return `${slots} slots are more than a whole GPU of node ${node.name}, which has ${offer.slotsPerGPU} slots`;
  }
  if (slots === offer.slotsPerGPU) {
    return `${slots} of ${offer.slotsPerGPU} slots are a whole GPU of node ${node.name}`;
  }
  if (slots * ask.gpus > 1 && offer.refusesMultiple) {
    return `${offer.resource} gives a container one unit at most, ${slots * ask.gpus} are needed`;
  }
  if (ask.gpus > 1) return obstacleOfSeveral({ node, offer }, ask.gpus, slots);
  // A plugin packs what it is asked for at a time: what comes from the init container can be of another card.
  if (slots > 1 && handedOn && offer.onOneCard && node.cards > 1) {
    return `the ${slots} slots need not be of one GPU on node ${node.name}: some are those of an init container before it`;
  }
  // The plugin takes units from the least used card first: two of them need not be of one card.
  return slots === 1 || offer.onOneCard
    ? undefined
    : `the ${slots} slots need not be of one GPU on node ${node.name}, which has ${node.cards} GPUs`;
}

function obstacleOfSeveral({ node, offer }: Place, gpus: number, slots: number): string | undefined {
  if (node.cards < gpus)
    return `node ${node.name} has ${node.cards} GPU${node.cards === 1 ? '' : 's'}, ${gpus} are asked for`;
  if (offer.onOneCard)
    return `the device plugin of node ${node.name} gives all units on one GPU, ${gpus} GPUs are asked for`;
  return slots === 1
    ? undefined
    : `${slots} slots on each of ${gpus} GPUs cannot be had: the device plugin may spread them otherwise`;
}

/** The most slots that nothing stands against; 0: not even one. Above one slot it is all the same but for those that there are. */
export function mostSlots(place: Place, ask: Ask, handedOn: boolean): number {
  if (obstacle(place, ask, 1, handedOn) !== undefined) return 0;
  return obstacle(place, ask, 2, handedOn) === undefined ? place.offer.slotsPerGPU - 1 : 1;
}
