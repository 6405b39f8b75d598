// SPDX-License-Identifier: Apache-2.0
// Which nodes can serve what is tried for a pod: with parts of GPUs as it is to have them, and with all else that it asks for.
import { amountText } from './amounts.ts';
import type { Grant } from './choose.ts';
import { memoryOf, obstacle } from './fit.ts';
import type { Ask } from './fit.ts';
import type { GpuNode } from './inventory.ts';
import type { Needs } from './needs.ts';

/** What is tried. Lists are parallel to the asks. */
export interface Wanted {
  readonly asks: readonly Ask[];
  readonly resources: readonly string[];
  readonly slots: readonly number[];
  /** See obstacle(). */
  readonly handedOn: boolean;
  /** Units of each resource, for the pod. */
  readonly units: ReadonlyMap<string, number>;
  /** What else the pod asks for. */
  readonly needs: Needs;
}

export interface Sorted {
  readonly serving: readonly GpuNode[];
  /** Those that cannot, although the scheduler would take them. */
  readonly others: readonly GpuNode[];
  /** Those that could, were a sick card well or a plugin running; empty where nobody asked for what is to be had now. */
  readonly later: readonly GpuNode[];
  /** Why the first of all cannot; undefined where none of them has the resource. */
  readonly why: string | undefined;
}

/** `now`: only what is allocatable at this moment serves. */
export function sorted(nodes: readonly GpuNode[], wanted: Wanted, gpuResource: string, now: boolean): Sorted {
  let why: string | undefined;
  const serving: GpuNode[] = [];
  const others: GpuNode[] = [];
  const later: GpuNode[] = [];
  for (const node of nodes) {
    const never = obstaclesOf(node, wanted) ?? shortage(node, wanted, advertised);
    const against = never ?? (now ? shortage(node, wanted, allocatable) : undefined);
    if (against === undefined) serving.push(node);
    else {
      if (against !== '') why ??= against;
      if (never === undefined) later.push(node);
      else if (couldTake(node, wanted, gpuResource)) others.push(node);
    }
  }
  return { serving, others, later, why };
}

/** Whether the node could serve it, and with these quotas. */
export function holds(node: GpuNode, wanted: Wanted, grants: readonly Grant[]): boolean {
  if (obstaclesOf(node, wanted) !== undefined) return false;
  return grants.every(({ resource, slots, quota }) => {
    const offer = node.shared.find((shared) => shared.resource === resource);
    return offer !== undefined && memoryOf({ node, offer }, slots) >= quota;
  });
}

/** The scheduler could put the pod there, which knows no more of a resource than its name and how many units there are. */
export function couldTake(node: GpuNode, { units, needs }: Wanted, gpuResource: string): boolean {
  const hasUnits = [...units].every(([resource, count]) => {
    const there = node.advertised.get(resource);
    if (there !== undefined) return there >= count;
    // Labels tell of cards whose plugin does not run yet.
    return resource === gpuResource && node.shared.length === 0 && node.cards >= count;
  });
  return hasUnits && missing(node, needs, true) === undefined;
}

/** What the node does not have of it: at this moment, or `ever`. */
export function missing(node: GpuNode, needs: Needs, ever = false): string | undefined {
  return lacking(node, needs, ever ? advertised : allocatable);
}

/** Why nothing of the resource on the node serves the pod, whatever it asks for of it. */
export function unable(node: GpuNode, resource: string, needs: Needs, ever: boolean): string | undefined {
  if (!ever && allocatable(node, resource) === 0) return `node ${node.name} has no unit of ${resource} at this moment`;
  return missing(node, needs, ever);
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

type Amounts = (node: GpuNode, resource: string) => number;

/** At this moment. */
const allocatable: Amounts = (node, resource) => node.allocatable.get(resource) ?? 0;
/** While all of its devices are well and their plugins run; of what is no device, at this moment. */
const advertised: Amounts = (node, resource) => node.advertised.get(resource) ?? allocatable(node, resource);

function shortage(node: GpuNode, { units, needs }: Wanted, amounts: Amounts): string | undefined {
  for (const [resource, count] of units) {
    const there = amounts(node, resource);
    if (there < count) return `node ${node.name} has ${there} units of ${resource}, ${count} are needed`;
  }
  return lacking(node, needs, amounts);
}

function lacking(node: GpuNode, needs: Needs, amounts: Amounts): string | undefined {
  for (const [resource, needed] of needs) {
    const there = amounts(node, resource);
    if (there < needed) {
      return `node ${node.name} has ${amountText(resource, there)}, ${amountText(resource, needed)} is needed`;
    }
  }
  return undefined;
}
