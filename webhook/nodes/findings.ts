// SPDX-License-Identifier: Apache-2.0

/** What may be wrong with what a node or an administrator says. A closed set: it is the label of a metric. */
export const FINDING_REASONS = [
  'BadLabel',
  'SlotsUnknown',
  'SlotsDisagree',
  'MoreUnitsThanSlots',
  'FewerUnitsThanSlots',
  'MemoryUnknown',
  'MemoryAboveCard',
  'ModesDisagree',
  'StrategyUnclear',
  'PlacementsDisagree',
  'ExclusivePlacement',
  'MigInvalid',
] as const;

export type FindingReason = (typeof FINDING_REASONS)[number];

export interface Finding {
  readonly reason: FindingReason;
  /** What was seen, what is made of it, and what would mend it. */
  readonly message: string;
}

/** Where the parts of one assessment put what they find. */
export type Note = (reason: FindingReason, message: string) => void;
