// SPDX-License-Identifier: Apache-2.0
// Which shared resource a pod gets, how many units of it, and with what quota: one answer for all of its containers, because one
// node has to serve them together. See ADR 14.
import type { NodeRequirement, SliceSettings } from './context.ts';
import { memoryOf, mostSlots, obstacle, slotsFor } from './fit.ts';
import type { Ask, Place } from './fit.ts';
import type { GpuNode } from './inventory.ts';
import { ofOneKind } from './kinds.ts';
import type { Share as LabelledShare } from './kinds.ts';
import { assignments, marketOf } from './market.ts';
import type { Market } from './market.ts';
import { effectiveSum } from './pod.ts';
import { rankOf } from './rank.ts';
import { requirementsFor } from './requirements.ts';

export interface Grant {
  readonly resource: string;
  /** Units of the resource: slots × GPUs. */
  readonly units: number;
  /** Of each GPU. */
  readonly slots: number;
  /** Bytes on each GPU that the container sees. */
  readonly quota: number;
  /** The node whose card is decisive, and its number of slots and size. */
  readonly smallest: { readonly node: string; readonly slotsPerGPU: number; readonly cardMemory: number };
}

export type Choice =
  | {
      readonly kind: 'share';
      /** Parallel to the asks. */
      readonly grants: readonly Grant[];
      /** Hold for the nodes that can serve it, and for their like. */
      readonly requirements: readonly NodeRequirement[];
      /** Nodes that can serve it. */
      readonly nodes: number;
      /** Whole GPUs less parts of GPUs, effective for the pod. */
      readonly saved: number;
    }
  | { readonly kind: 'whole'; readonly reason: 'no-target' | 'no-node'; readonly why: string };

type Share = Extract<Choice, { kind: 'share' }>;

interface Candidate {
  readonly share: Share;
  readonly rank: readonly number[];
  readonly name: string;
}

/** `nodes`: those that the pod may land on; `barred`: those that it might, were a taint taken away. */
export function choose(
  asks: readonly Ask[],
  nodes: readonly GpuNode[],
  settings: SliceSettings,
  barred: readonly GpuNode[] = [],
): Choice {
  const market = marketOf(nodes, barred);
  if (market.places.size === 0) {
    const why =
      nodes.length === 0 ? 'it may land on no node with a GPU' : 'no node that it may land on offers parts of a GPU';
    return { kind: 'whole', reason: 'no-target', why };
  }
  let best: Candidate | undefined;
  let why: string | undefined;
  for (const resources of assignments(asks, market)) {
    const tried = attempt(asks, resources, market, settings);
    if (typeof tried === 'string') why ??= tried;
    else if (best === undefined || before(tried, best)) best = tried;
  }
  return best?.share ?? { kind: 'whole', reason: 'no-node', why: why ?? 'no node can serve it' };
}

/** A share of these resources, or why there is none. */
function attempt(
  asks: readonly Ask[],
  resources: readonly string[],
  market: Market,
  settings: SliceSettings,
): Candidate | string {
  const offered = resources.map((name) => market.places.get(name) ?? []);
  const handedOn = asks.length > 1 && asks.some(({ phase }) => phase === 'init');
  const slots = asks.map((ask, index) => slotsOf(ask, resources[index] ?? '', offered[index] ?? [], handedOn));
  const units = asks.map((ask, index) => ask.gpus * (slots[index] ?? 0));
  const wanted: Wanted = { asks, resources, slots, handedOn, needed: unitsByResource(asks, resources, units) };
  const { serving, others, why } = sorted(market.nodes, wanted, settings.gpuResource);
  if (serving.length === 0) return why ?? 'no node offers all that it needs';
  const { kept, grants } = grantsOf(asks, resources, offered, slots, serving);
  const served = new Set(kept);
  others.push(
    ...serving.filter((node) => !served.has(node)),
    ...market.barred.filter((node) => !holds(node, wanted, grants) && couldTake(node, wanted, settings.gpuResource)),
  );
  const requirements = requirementsFor(kept, others, sharesOf(grants, offered));
  if (requirements === undefined)
    return `nodes that cannot serve it have no label to tell them from others: ${why ?? namesOf(others)}`;
  const share: Share = { kind: 'share', grants, requirements, nodes: kept.length, saved: savedBy(asks, grants) };
  return { share, rank: rankOf(asks, grants, offered, kept.length, settings.preference), name: resources.join() };
}

/** What is tried. Lists are parallel to the asks. */
interface Wanted {
  readonly asks: readonly Ask[];
  readonly resources: readonly string[];
  readonly slots: readonly number[];
  /** See obstacle(). */
  readonly handedOn: boolean;
  /** Units of each resource, for the pod. */
  readonly needed: ReadonlyMap<string, number>;
}

/** Nodes that can serve it, those that cannot although the scheduler would take them, and why the first of all cannot. */
function sorted(
  nodes: readonly GpuNode[],
  wanted: Wanted,
  gpuResource: string,
): { readonly serving: readonly GpuNode[]; readonly others: GpuNode[]; readonly why: string | undefined } {
  let why: string | undefined;
  const serving: GpuNode[] = [];
  const others: GpuNode[] = [];
  for (const node of nodes) {
    const obstacles = obstaclesOf(node, wanted) ?? shortage(node, wanted.needed);
    if (obstacles === undefined) serving.push(node);
    else {
      if (obstacles !== '') why ??= obstacles;
      if (couldTake(node, wanted, gpuResource)) others.push(node);
    }
  }
  return { serving, others, why };
}

/** Slots on each GPU. For memory: the number with which the most nodes can serve, as they may differ in the size of a slot. */
function slotsOf(ask: Ask, resource: string, places: readonly Place[], handedOn: boolean): number {
  const { size, held } = ask;
  if (size.kind === 'ratio') return size.ratio;
  if (held?.resource === resource) return held.units / ask.gpus;
  const ranges = places.map((place) => ({
    least: slotsFor(place, size.bytes),
    most: mostSlots(place, ask, handedOn),
  }));
  // Each place can serve with the numbers of one range: how many are open at each beginning, in one walk over both ends.
  const starts = ranges.filter(({ least, most }) => least <= most).toSorted((a, b) => a.least - b.least);
  const ends = starts.map(({ most }) => most).toSorted((a, b) => a - b);
  let best = {
    slots: ranges.reduce((fewest, { least }) => Math.min(fewest, least), Number.POSITIVE_INFINITY),
    open: 0,
  };
  let closed = 0;
  starts.forEach(({ least }, index) => {
    while ((ends[closed] ?? least) < least) closed += 1;
    const open = index + 1 - closed;
    if (open > best.open) best = { slots: least, open };
  });
  return best.slots;
}

/** What the containers get from those of the nodes that are of one kind: without the smallest of them it can be more. */
function grantsOf(
  asks: readonly Ask[],
  resources: readonly string[],
  offered: readonly (readonly Place[])[],
  slots: readonly number[],
  serving: readonly GpuNode[],
): { readonly kept: readonly GpuNode[]; readonly grants: Grant[] } {
  const served = new Set(serving);
  const grants = asks.map((ask, index) =>
    grantOf(ask, resources[index] ?? '', slots[index] ?? 0, placesOn(served, offered[index] ?? [])),
  );
  const kept = ofOneKind(serving, sharesOf(grants, offered));
  return kept.length === serving.length ? { kept, grants } : grantsOf(asks, resources, offered, slots, kept);
}

function sharesOf(grants: readonly Grant[], offered: readonly (readonly Place[])[]): LabelledShare[] {
  return grants.map(({ slots, quota }, index) => {
    const isInstance = offered[index]?.every(({ offer }) => offer.mode === 'MIG') ?? false;
    return { slots, quota, isInstance };
  });
}

/** Whether the node can serve it, and with these quotas. */
function holds(node: GpuNode, wanted: Wanted, grants: readonly Grant[]): boolean {
  if (obstaclesOf(node, wanted) !== undefined) return false;
  return grants.every(({ resource, slots, quota }) => {
    const offer = node.shared.find((shared) => shared.resource === resource);
    return offer !== undefined && memoryOf({ node, offer }, slots) >= quota;
  });
}

function namesOf(nodes: readonly GpuNode[]): string {
  const names = nodes.slice(0, 3).map(({ name }) => name);
  return nodes.length > names.length ? `${names.join(', ')}, …` : names.join(', ');
}

/** Why the node cannot serve the containers; empty where it does not have the resource at all. */
function obstaclesOf(node: GpuNode, { asks, resources, slots, handedOn }: Wanted): string | undefined {
  for (const [index, ask] of asks.entries()) {
    const offer = node.shared.find(({ resource }) => resource === resources[index]);
    if (offer === undefined) return '';
    const count = slots[index] ?? 0;
    const why = obstacle({ node, offer }, ask, count, handedOn);
    if (why !== undefined) return `${ask.container}: ${why}`;
    if (ask.size.kind === 'vram' && memoryOf({ node, offer }, count) < ask.size.bytes) {
      return `${ask.container}: ${count} slots of node ${node.name} are less memory than asked for`;
    }
  }
  return undefined;
}

function unitsByResource(
  asks: readonly Ask[],
  resources: readonly string[],
  units: readonly number[],
): Map<string, number> {
  const phases = asks.map(({ phase }) => phase);
  return new Map(
    [...new Set(resources)].map((name) => [
      name,
      effectiveSum(
        phases,
        units.map((count, index) => (resources[index] === name ? count : 0)),
      ),
    ]),
  );
}

function shortage(node: GpuNode, needed: ReadonlyMap<string, number>): string | undefined {
  for (const [resource, count] of needed) {
    const { allocatable = 0 } = node.shared.find((offer) => offer.resource === resource) ?? {};
    if (allocatable < count) return `node ${node.name} has ${allocatable} units of ${resource}, ${count} are needed`;
  }
  return undefined;
}

/** The scheduler could put the pod there, which knows no more of a resource than its name and how many units there are. */
function couldTake(node: GpuNode, { needed }: Wanted, gpuResource: string): boolean {
  return [...needed].every(([resource, count]) => {
    const units = node.advertised.get(resource);
    if (units !== undefined) return units >= count;
    // Labels tell of cards whose plugin does not run yet.
    return resource === gpuResource && node.shared.length === 0 && node.cards >= count;
  });
}

function placesOn(nodes: ReadonlySet<GpuNode>, places: readonly Place[]): Place[] {
  return places.filter(({ node }) => nodes.has(node));
}

function grantOf(ask: Ask, resource: string, slots: number, places: readonly Place[]): Grant {
  let quota = Number.POSITIVE_INFINITY;
  let smallest = { node: '', slotsPerGPU: 1, cardMemory: 0 };
  for (const place of places) {
    const memory = memoryOf(place, slots);
    if (memory >= quota) continue;
    quota = memory;
    smallest = { node: place.node.name, slotsPerGPU: place.offer.slotsPerGPU, cardMemory: place.node.cardMemory };
  }
  if (ask.size.kind === 'vram') quota = ask.size.bytes;
  return { resource, units: slots * ask.gpus, slots, quota, smallest };
}

function savedBy(asks: readonly Ask[], grants: readonly Grant[]): number {
  const phases = asks.map(({ phase }) => phase);
  const whole = effectiveSum(
    phases,
    asks.map(({ gpus }) => gpus),
  );
  const parts = effectiveSum(
    phases,
    grants.map(({ units, smallest }) => units / smallest.slotsPerGPU),
  );
  return Math.max(0, whole - parts);
}

function before(a: Candidate, b: Candidate): boolean {
  const index = a.rank.findIndex((value, at) => value !== b.rank[at]);
  return index < 0 ? a.name < b.name : (a.rank[index] ?? 0) < (b.rank[index] ?? 0);
}
