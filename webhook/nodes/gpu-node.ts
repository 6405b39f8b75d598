// SPDX-License-Identifier: Apache-2.0
import type { GpuNode, SharedOffer } from '../slice/inventory.ts';
import { cardOffer, wholeIsShared } from './card-offer.ts';
import type { Finding, Note } from './findings.ts';
import { readResourceLabels, singleMigProfile } from './gpu-labels.ts';
import { isMigResource, migOffer, singleMigOffer } from './mig-offer.ts';
import type { NodeFacts } from './node-facts.ts';
import { advertisedBy, allocatableOf, unitsOf } from './node-view.ts';
import type { FoundOffer, NodeSettings, NodeView } from './node-view.ts';
import type { PlacementIndex } from './placement-index.ts';

/** More than there are profiles of MIG: a node that advertises whatever cannot make each decision slow. */
const MAX_OFFERS = 32;

export interface Assessment {
  /** Absent: no node with GPUs. */
  readonly node?: GpuNode;
  readonly findings: readonly Finding[];
}

/**
 * What a node offers to slices. Where labels, resources and what people state contradict each other, the answer is the one by
 * which quotas can not add up to more than a card: the most slots, the least memory, or no offer; each with a finding.
 */
export function toGpuNode(facts: NodeFacts, settings: NodeSettings, placements: PlacementIndex): Assessment {
  const findings: Finding[] = [];
  const note: Note = (reason, message) => void findings.push({ reason, message });
  const labels = facts.metadata.labels ?? {};
  const cardLabels = readResourceLabels(labels, note);
  const about = placements.about(labels);
  const view = { facts, settings, placements: about.filter(({ mode }) => mode !== 'Exclusive'), cardLabels, note };
  if (!hasGpus(view, placements.resources)) return { findings: [] };
  const offers = labels['kubernetes.io/os'] === 'windows' ? [] : findOffers(view);
  // Without selectors an Exclusive Placement says what its units get, and nothing about particular nodes.
  const exclusive = about.find(({ mode, nodeSelectors }) => mode === 'Exclusive' && nodeSelectors.length > 0);
  if (exclusive && offers.length > 0) {
    note(
      'ExclusivePlacement',
      `Placement ${exclusive.placement} says Exclusive, the node shares ${offers.map(({ offer }) => offer.resource).join(', ')}; not used`,
    );
  }
  const selectedBy = new Set(about.flatMap(({ nodeSelectors }) => nodeSelectors.flatMap((one) => Object.keys(one))));
  return { node: { ...summarize(view, exclusive ? [] : offers), selectedBy: [...selectedBy] }, findings };
}

/** `shared`: names of resources of other nodes count, too. Who has one of them here must be known, if only to be kept off. */
function hasGpus({ facts, settings, cardLabels }: NodeView, shared: ReadonlySet<string>): boolean {
  if (cardLabels.count !== undefined) return true;
  const named = [settings.gpuResource, ...settings.sharedResources.map(({ name }) => name)];
  return [...advertisedBy(facts).keys()].some((resource) => {
    // Others carry the vendor's name too: nvidia.com/hostdev is a network card.
    const ofCards = resource.startsWith(`${settings.gpuResource}.`) || isMigResource(resource);
    return ofCards || named.includes(resource) || shared.has(resource);
  });
}

function findOffers(view: NodeView): readonly FoundOffer[] {
  const { facts, settings, placements, cardLabels, note } = view;
  const { gpuResource, sharedResources } = settings;
  const profile = singleMigProfile(cardLabels);
  if (profile === 'INVALID') {
    note(
      'MigInvalid',
      'its cards are split in different ways, which MIG strategy single does not serve; use mixed, or split them alike',
    );
  }
  const named = new Set([
    `${gpuResource}.shared`,
    ...sharedResources.map(({ name }) => name),
    ...placements.flatMap(({ resourceName }) => resourceName ?? []),
  ]);
  const find = (resource: string): FoundOffer | undefined => {
    if (isMigResource(resource)) return migOffer(view, resource);
    if (resource === gpuResource) {
      if (profile === 'INVALID') return undefined;
      if (wholeIsShared(view)) return cardOffer(view, resource);
      return profile === undefined ? undefined : singleMigOffer(view);
    }
    return named.has(resource) ? cardOffer(view, resource) : undefined;
  };
  return apart(view, [...advertisedBy(facts).keys()].flatMap((resource) => find(resource) ?? []).slice(0, MAX_OFFERS));
}

/** Each resource alone may fit the cards: units of several come from the same ones unless there are cards for all of them. */
function apart({ note }: NodeView, found: readonly FoundOffer[]): readonly FoundOffer[] {
  const ofCards = found.filter(({ offer }) => offer.mode !== 'MIG');
  const needed = ofCards.reduce((sum, { offer }) => sum + Math.ceil(offer.allocatable / offer.slotsPerGPU), 0);
  const cards = Math.max(0, ...ofCards.map((one) => one.cards));
  if (ofCards.length < 2 || needed <= cards) return found;
  const names = ofCards.map(({ offer }) => offer.resource).join(', ');
  note(
    'CardsOverlap',
    `${names} together are the slots of ${needed} cards, and ${cards} are known of (label nvidia.com/gpu.count); none of them is used`,
  );
  return found.filter(({ offer }) => offer.mode === 'MIG');
}

function summarize(
  { facts, settings, cardLabels }: NodeView,
  found: readonly FoundOffer[],
): Omit<GpuNode, 'selectedBy'> {
  const counts = found.flatMap(({ offer, cards }) => (offer.mode === 'MIG' ? [] : [cards]));
  if (cardLabels.count !== undefined) counts.push(cardLabels.count);
  if (counts.length === 0) counts.push(unitsOf(facts, settings.gpuResource));
  const offers = found.map(({ offer }) => offer);
  const cardMemory = cardLabels.memory ?? leastMemory(offers);
  return {
    name: facts.metadata.name,
    labels: facts.metadata.labels ?? {},
    taints: facts.taints,
    unschedulable: facts.unschedulable,
    cards: Math.max(1, ...counts),
    cardMemory,
    shared: offers.map((offer) => fitted(offer, cardMemory)),
    advertised: advertisedBy(facts),
    allocatable: allocatableOf(facts),
  };
}

/** What a card has at least, where no label tells: all slots of one; of MIG, which fills cards as it likes, the largest instance. */
function leastMemory(offers: readonly SharedOffer[]): number {
  const ofCards = offers.filter(({ mode }) => mode !== 'MIG');
  if (ofCards.length > 0)
    return Math.min(...ofCards.map(({ slotsPerGPU, memoryPerSlot }) => slotsPerGPU * memoryPerSlot));
  return Math.max(0, ...offers.map(({ memoryPerSlot }) => memoryPerSlot));
}

/** Several resources on cards of which nothing else is known: each may be of the smallest. */
function fitted(offer: SharedOffer, cardMemory: number): SharedOffer {
  const fair = Math.floor(cardMemory / offer.slotsPerGPU);
  return offer.mode === 'MIG' || offer.memoryPerSlot <= fair ? offer : { ...offer, memoryPerSlot: fair };
}
