// SPDX-License-Identifier: Apache-2.0
// What the nodes really offer, as the decision on a pod sees it.

export type SharingMode = 'TimeSlicing' | 'MPS' | 'MIG';

/** One extended resource of one node of which a unit is a part of a GPU. */
export interface SharedOffer {
  /** Extended resource, e.g. `nvidia.com/gpu.shared`, `nvidia.com/mig-1g.10gb`. */
  readonly resource: string;
  readonly mode: SharingMode;
  /** Slots into which each GPU of the node is split, ≥ 1. MIG: instances of this size that a card could hold; 1 with strategy single. */
  readonly slotsPerGPU: number;
  /** Bytes of GPU memory that one slot stands for: the card's ÷ slots, or what the Placement or the MIG profile says. */
  readonly memoryPerSlot: number;
  /** Units that are allocatable on the node while all of its cards are well and its plugin runs (its capacity), ≥ 1. */
  readonly allocatable: number;
  /** The device plugin refuses requests above one unit (`failRequestsGreaterThanOne`; always so with MPS and MIG). */
  readonly refusesMultiple: boolean;
  /** All units of one container are surely of one card: one card on the node, or a plugin that packs. */
  readonly onOneCard: boolean;
}

export interface GpuNode {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly taints: readonly { readonly key: string; readonly value?: string; readonly effect: string }[];
  readonly unschedulable: boolean;
  /** Cards of the node (`nvidia.com/gpu.count`), ≥ 1. With MIG strategy single its instances: the labels tell nothing of the cards. */
  readonly cards: number;
  /** Bytes of memory of one card; of the smallest where they differ. 0: not known, and nothing is shared. */
  readonly cardMemory: number;
  readonly shared: readonly SharedOffer[];
  /**
   * Units of every extended resource that the node has, by its capacity: what the scheduler goes by, also where `shared` has no offer
   * because nobody can tell what a unit is, or because it is not to be used.
   */
  readonly advertised: ReadonlyMap<string, number>;
  /** Amounts (see amounts.ts) of every resource, CPU and memory too, that are allocatable at this moment. */
  readonly allocatable: ReadonlyMap<string, number>;
  /** Keys of labels by which administrators select it among others (Placements that are about it). */
  readonly selectedBy: readonly string[];
}

/** A snapshot: never changes once handed out. `synced` false: nodes have not been listed yet, nothing may be concluded. */
export interface Inventory {
  readonly synced: boolean;
  readonly nodes: readonly GpuNode[];
}
