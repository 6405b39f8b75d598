// SPDX-License-Identifier: Apache-2.0
// A resource whose units are parts of whole cards: time-slicing and MPS, renamed or not.
import type { SharingMode } from '../slice/inventory.ts';
import { keepsItsName } from './gpu-labels.ts';
import { unitsOf } from './node-view.ts';
import type { FoundOffer, NodeView } from './node-view.ts';
import { statementOf } from './sharing.ts';
import type { Statement } from './sharing.ts';

/** Whether a unit of `nvidia.com/gpu` itself is only a part of a card on this node. */
export function wholeIsShared({ cardLabels, facts, settings, placements }: NodeView): boolean {
  const { gpuResource, sharedResources } = settings;
  // A setting holds for all nodes; only one that states slots says more than what holds where the labels tell of sharing.
  if (sharedResources.some(({ name, slotsPerGPU }) => name === gpuResource && slotsPerGPU !== undefined)) return true;
  if (placements.some(({ resourceName }) => resourceName === gpuResource)) return true;
  if (cardLabels.replicas === undefined) return false;
  // Without a product nobody says whether it was renamed; with the renamed one beside it, it was.
  const renamed = unitsOf(facts, `${gpuResource}.shared`) > 0;
  return keepsItsName(cardLabels) || (cardLabels.product === '' && !renamed);
}

export function cardOffer(view: NodeView, resource: string): FoundOffer | undefined {
  const { facts, settings, placements, cardLabels, note } = view;
  const units = unitsOf(facts, resource);
  if (units < 1) return undefined;
  const said = statementOf(resource, false, settings.sharedResources, placements, note);
  const slots = slotsOf(view, resource, said);
  if (slots === undefined) return undefined;
  const cards = cardsOf(view, resource, said, units, slots);
  if (cards === undefined) return undefined;
  const memoryPerSlot = memoryOf(view, resource, said, slots);
  if (memoryPerSlot === undefined) return undefined;
  const { mode, refuses } = modeOf(view, resource, said);
  const offer = {
    resource,
    mode,
    slotsPerGPU: slots,
    memoryPerSlot,
    allocatable: units,
    refusesMultiple: refuses || said.refusesMultiple || cardLabels.strategy === 'mps',
    onOneCard: cards === 1 || said.packs,
  };
  return { offer, cards };
}

function slotsOf({ cardLabels, note }: NodeView, resource: string, said: Statement): number | undefined {
  const { replicas } = cardLabels;
  if (said.slots === undefined && replicas === undefined) {
    note(
      'SlotsUnknown',
      `nothing says into how many slots of ${resource} a card is split; label nvidia.com/gpu.replicas, a Placement's sharing.slotsPerGPU or slotsPerGPU in the policy would`,
    );
    return undefined;
  }
  const slots = Math.max(said.slots ?? 0, replicas ?? 0);
  if (said.slots !== undefined && replicas !== undefined && said.slots !== replicas) {
    note(
      'SlotsDisagree',
      `slotsPerGPU of ${resource} is said to be ${said.slots}, label nvidia.com/gpu.replicas says ${replicas}; ${slots} holds`,
    );
  }
  return slots;
}

/** Units that exceed cards × slots would be handed out on cards whose memory nobody has told. */
function cardsOf(
  { cardLabels, settings, note }: NodeView,
  resource: string,
  said: Statement,
  capacity: number,
  slots: number,
): number | undefined {
  const needed = Math.ceil(capacity / slots);
  const cards = cardLabels.count ?? needed;
  if (needed > cards) {
    // Cards of two models: the labels speak of one of them only. Who states slots and memory has vouched for all of them.
    if (said.slots !== undefined && said.memoryPerSlot !== undefined) return needed;
    note(
      'MoreUnitsThanSlots',
      `${capacity} units of ${resource} are more than ${cards} cards (label nvidia.com/gpu.count) × ${slots} slots; not used until the labels fit, or slotsPerGPU and memoryPerSlot of the smallest card are stated`,
    );
    return undefined;
  }
  if (resource === settings.gpuResource && slots > 1 && capacity <= cards) {
    note(
      'FewerUnitsThanSlots',
      `${resource} is said to be split into ${slots} slots, but there are ${capacity} units on ${cards} cards: whole ones, it seems; not used`,
    );
    return undefined;
  }
  return cards;
}

function memoryOf(
  { cardLabels, note }: NodeView,
  resource: string,
  said: Statement,
  slots: number,
): number | undefined {
  const fair = cardLabels.memory === undefined ? undefined : Math.floor(cardLabels.memory / slots);
  if (said.memoryPerSlot === undefined) {
    if (fair !== undefined) return fair;
    note(
      'MemoryUnknown',
      `nothing says how much memory a slot of ${resource} has; label nvidia.com/gpu.memory, a Placement's sharing.memoryPerSlot or memoryPerSlot in the policy would`,
    );
    return undefined;
  }
  if (fair === undefined || said.memoryPerSlot <= fair) return said.memoryPerSlot;
  note(
    'MemoryAboveCard',
    `memoryPerSlot of ${resource} is said to be ${said.memoryPerSlot} bytes, ${slots} of which are more than the card has; ${fair} holds`,
  );
  return fair;
}

function modeOf(
  { cardLabels, note }: NodeView,
  resource: string,
  said: Statement,
): { readonly mode: SharingMode; readonly refuses: boolean } {
  const { strategy, replicas } = cardLabels;
  const labelled = strategy === 'mps' ? 'MPS' : strategy === 'time-slicing' ? 'TimeSlicing' : undefined;
  const mode = said.mode ?? labelled ?? 'TimeSlicing';
  if (labelled !== undefined && said.mode !== undefined && labelled !== said.mode) {
    note(
      'ModesDisagree',
      `${resource} is said to be shared by ${said.mode}, label nvidia.com/gpu.sharing-strategy says ${strategy}`,
    );
  }
  const unclear = strategy === 'none' && replicas !== undefined && said.mode === undefined;
  if (unclear) {
    note(
      'StrategyUnclear',
      `${replicas} replicas, but label nvidia.com/gpu.sharing-strategy is none; one unit at a time`,
    );
  }
  return { mode, refuses: unclear || mode !== 'TimeSlicing' };
}
