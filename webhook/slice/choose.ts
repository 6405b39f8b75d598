// SPDX-License-Identifier: Apache-2.0
// Which shared resource a pod gets, how many units of it, and with what quota: one answer for all of its containers, because one
// node has to serve them together. See ADR 14.
import type { NodeRequirement, SliceSettings } from './context.ts';
import { memoryOf, mostSlots, slotsFor } from './fit.ts';
import type { Ask, Place } from './fit.ts';
import type { GpuNode, SharingMode } from './inventory.ts';
import { ofOneKind } from './kinds.ts';
import type { Share as LabelledShare } from './kinds.ts';
import { assignments, marketOf } from './market.ts';
import type { Market } from './market.ts';
import type { Needs } from './needs.ts';
import { effectiveSum } from './pod.ts';
import { rankOf } from './rank.ts';
import { requirementsFor } from './requirements.ts';
import { couldTake, holds, sorted, unable } from './serving.ts';
import type { Wanted } from './serving.ts';

export interface Grant {
  readonly resource: string;
  /** Units of the resource: slots × GPUs. */
  readonly units: number;
  /** Of each GPU. */
  readonly slots: number;
  /** Bytes on each GPU that the container sees. */
  readonly quota: number;
  /** The node whose card is decisive, and its number of slots and size. */
  readonly smallest: {
    readonly node: string;
    readonly mode: SharingMode;
    readonly slotsPerGPU: number;
    readonly cardMemory: number;
  };
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
      /** Why no node takes the pod at this moment, neither so nor whole. */
      readonly waits?: string;
    }
  | { readonly kind: 'whole'; readonly reason: 'no-target' | 'no-node'; readonly why: string };

type Share = Extract<Choice, { kind: 'share' }>;

interface Candidate {
  readonly share: Share;
  readonly rank: readonly number[];
  readonly name: string;
}

/** The pod's part beside its GPUs. */
export interface Circumstances {
  /** What else it asks for. */
  readonly needs?: Needs;
  /** Nodes that it may come to land on: were a taint taken away, or the node in service again. */
  readonly barred?: readonly GpuNode[];
  /** Nodes of which nothing is allocatable at this moment serve as well as others. */
  readonly canWait?: boolean;
}

/** `nodes`: those that the pod may land on. */
export function choose(
  asks: readonly Ask[],
  nodes: readonly GpuNode[],
  settings: SliceSettings,
  { needs = new Map(), barred = [], canWait = false }: Circumstances = {},
): Choice {
  const market = marketOf(nodes, barred, (node, { resource }) => unable(node, resource, needs, canWait) === undefined);
  if (market.places.size === 0) return nothingOffered(nodes, barred, needs, canWait);
  const terms = { market, settings, needs, canWait };
  let best: Candidate | undefined;
  let why: string | undefined;
  for (const resources of assignments(asks, market)) {
    const tried = attempt(asks, resources, terms);
    if (typeof tried === 'string') why ??= tried;
    else if (best === undefined || before(tried, best)) best = tried;
  }
  return best?.share ?? { kind: 'whole', reason: 'no-node', why: why ?? 'no node can serve it' };
}

function nothingOffered(nodes: readonly GpuNode[], barred: readonly GpuNode[], needs: Needs, canWait: boolean): Choice {
  for (const node of nodes) {
    const why = node.shared[0] && unable(node, node.shared[0].resource, needs, canWait);
    if (why !== undefined) return { kind: 'whole', reason: 'no-node', why };
  }
  const what =
    nodes.length === 0 ? 'it may land on no node with a GPU' : 'no node that it may land on offers parts of a GPU';
  const moment = barred.some(({ shared }) => shared.length > 0) ? ' at this moment' : '';
  return { kind: 'whole', reason: 'no-target', why: what + moment };
}

interface Terms extends Required<Pick<Circumstances, 'needs' | 'canWait'>> {
  readonly market: Market;
  readonly settings: SliceSettings;
}

/** A share of these resources, or why there is none. */
function attempt(
  asks: readonly Ask[],
  resources: readonly string[],
  { market, settings, needs, canWait }: Terms,
): Candidate | string {
  const offered = resources.map((name) => market.places.get(name) ?? []);
  const handedOn = asks.length > 1 && asks.some(({ phase }) => phase === 'init');
  const slots = asks.map((ask, index) => slotsOf(ask, resources[index] ?? '', offered[index] ?? [], handedOn));
  const units = asks.map((ask, index) => ask.gpus * (slots[index] ?? 0));
  const wanted: Wanted = { asks, resources, slots, handedOn, units: unitsByResource(asks, resources, units), needs };
  const { serving, later, why, ...rest } = sorted(market.nodes, wanted, settings.gpuResource, !canWait);
  if (serving.length === 0) return why ?? 'no node offers all that it needs';
  const { kept, grants } = grantsOf(asks, resources, offered, slots, serving);
  const served = new Set(kept);
  const others = [
    ...rest.others,
    ...serving.filter((node) => !served.has(node)),
    ...[...later, ...market.barred].filter(
      (node) => !holds(node, wanted, grants) && couldTake(node, wanted, settings.gpuResource),
    ),
  ];
  const requirements = requirementsFor(kept, others, sharesOf(grants, offered));
  if (requirements === undefined)
    return `nodes that cannot serve it have no label to tell them from others: ${why ?? namesOf(others)}`;
  const share: Share = { kind: 'share', grants, requirements, nodes: kept.length, saved: savedBy(asks, grants) };
  return { share, rank: rankOf(asks, grants, offered, kept.length, settings.preference), name: resources.join() };
}

/** Slots on each GPU. For memory: the number with which the most nodes can serve, as they may differ in the size of a slot. */
function slotsOf(ask: Ask, resource: string, places: readonly Place[], handedOn: boolean): number {
  const { size, held } = ask;
  if (size.kind === 'ratio') return size.ratio;
  if (held?.resource === resource) return held.units / ask.gpus;
  // Each place can serve with the numbers of one range: where they begin, and after which they end.
  const changes = new Map<number, number>();
  const count = (slots: number, by: number): unknown => changes.set(slots, (changes.get(slots) ?? 0) + by);
  let fewest = Number.POSITIVE_INFINITY;
  for (const place of places) {
    const least = slotsFor(place, size.bytes);
    const most = mostSlots(place, ask, handedOn);
    fewest = Math.min(fewest, least);
    if (least > most) continue;
    count(least, 1);
    count(most + 1, -1);
  }
  let best = { slots: fewest, open: 0 };
  let open = 0;
  for (const slots of [...changes.keys()].toSorted((a, b) => a - b)) {
    open += changes.get(slots) ?? 0;
    if (open > best.open) best = { slots, open };
  }
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

function namesOf(nodes: readonly GpuNode[]): string {
  const names = nodes.slice(0, 3).map(({ name }) => name);
  return nodes.length > names.length ? `${names.join(', ')}, …` : names.join(', ');
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

function placesOn(nodes: ReadonlySet<GpuNode>, places: readonly Place[]): Place[] {
  return places.filter(({ node }) => nodes.has(node));
}

function grantOf(ask: Ask, resource: string, slots: number, places: readonly Place[]): Grant {
  let quota = Number.POSITIVE_INFINITY;
  let smallest: Grant['smallest'] = { node: '', mode: 'TimeSlicing', slotsPerGPU: 1, cardMemory: 0 };
  for (const place of places) {
    const memory = memoryOf(place, slots);
    if (memory >= quota) continue;
    quota = memory;
    const { mode, slotsPerGPU } = place.offer;
    smallest = { node: place.node.name, mode, slotsPerGPU, cardMemory: place.node.cardMemory };
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
