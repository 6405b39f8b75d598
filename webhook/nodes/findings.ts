// SPDX-License-Identifier: Apache-2.0

/** What may be wrong with what a node or an administrator says, and what is made of it. A closed set: it is the label of a metric. */
export const FINDINGS = {
  BadLabel: 'a label of GPU feature discovery is no number that it could be; it counts as absent',
  SlotsUnknown: 'nothing says into how many slots a card is split; the resource is not used',
  SlotsDisagree: 'label and statement name different numbers of slots; the larger one holds',
  MoreUnitsThanSlots:
    'more units are advertised than cards × slots, as where cards of two models are in one node; the resource is not used until slotsPerGPU and memoryPerSlot of the smallest card are stated',
  CardsOverlap: 'several shared resources together are more than all cards have; none of them is used',
  FewerUnitsThanSlots: 'the labels promise slots, but whole GPUs are advertised; the resource is not used',
  MemoryUnknown: 'nothing says how much memory a slot or an instance has; the resource is not used',
  MemoryAboveCard: 'more memory is stated for a slot than there is; what there is holds',
  ModesDisagree: 'label and statement name different ways of sharing; one unit at a time if either is MPS',
  StrategyUnclear: 'replicas, but a sharing strategy of none; one unit at a time',
  PlacementsDisagree: 'Placements contradict each other; the most slots and the least memory of them hold',
  ExclusivePlacement: 'an Exclusive Placement selects the node, which shares its GPUs; they are not used',
  MigInvalid: 'cards are split in different ways, which MIG strategy single does not serve; they are not used',
} as const;

export type FindingReason = keyof typeof FINDINGS;

export const FINDING_REASONS = Object.keys(FINDINGS) as readonly FindingReason[];

export interface Finding {
  readonly reason: FindingReason;
  /** What was seen, what is made of it, and what would mend it. */
  readonly message: string;
}

/** Where the parts of one assessment put what they find. */
export type Note = (reason: FindingReason, message: string) => void;
