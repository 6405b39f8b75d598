// SPDX-License-Identifier: Apache-2.0
// The choice for a pod among the nodes that it may land on. In large clusters it is remembered: pods of one template ask the same.
import { hash } from 'node:crypto';
import { choose } from './choose.ts';
import type { Choice } from './choose.ts';
import type { SliceContext } from './context.ts';
import type { Ask } from './fit.ts';
import type { GpuNode, Inventory } from './inventory.ts';
import { labelOf, mayLandOn, meets, tolerates } from './node-match.ts';
import type { PodSpec } from './pod.ts';

/** Below this a choice is made in the time that it takes to look one up. */
const FEW_NODES = 32;
/** Templates that are being rolled out at a time; the choices of one are some hundred bytes … */
const MAX_REMEMBERED = 512;
/** … where it has not more containers than these. */
const MAX_ASKS = 32;
/** Tolerates everything. */
const ANYTHING = [{ operator: 'Exists' }];

export type Chooser = (spec: PodSpec, asks: readonly Ask[], context: SliceContext) => Choice;

export const chooseNow: Chooser = (spec, asks, context) => {
  const { nodes, barred } = landingNodes(spec, context);
  return choose(asks, nodes, context.settings, barred);
};

/** Remembers choices until the nodes or the settings are others: both are snapshots that never change. */
export function createChooser(): Chooser {
  const remembered = new Map<string, Choice>();
  let inventory: Inventory | undefined;
  let settings: SliceContext['settings'] | undefined;
  return (spec, asks, context) => {
    if (context.inventory.nodes.length <= FEW_NODES) return chooseNow(spec, asks, context);
    if (context.inventory !== inventory || context.settings !== settings) {
      ({ inventory, settings } = context);
      remembered.clear();
    }
    if (asks.length > MAX_ASKS) return chooseNow(spec, asks, context);
    const key = keyOf(spec, asks);
    const known = remembered.get(key);
    if (known !== undefined) return known;
    if (remembered.size >= MAX_REMEMBERED) remembered.clear();
    const choice = chooseNow(spec, asks, context);
    remembered.set(key, choice);
    return choice;
  };
}

/** All that a choice depends on beside nodes and settings, hashed: pods bring as much of it as they like. */
function keyOf({ nodeName, nodeSelector, affinity, tolerations }: PodSpec, asks: readonly Ask[]): string {
  return hash('sha256', JSON.stringify([asks, nodeName, nodeSelector, affinity?.nodeAffinity, tolerations]), 'base64');
}

interface Landing {
  /** On these the pod may be once it has what slices get. */
  readonly nodes: readonly GpuNode[];
  /** On these, too, were it not for a taint, which may be taken away while the pod waits. */
  readonly barred: readonly GpuNode[];
}

function landingNodes(spec: PodSpec, { settings, inventory }: SliceContext): Landing {
  const { tolerations, nodeRequirements } = settings;
  const tolerated = [...(spec.tolerations ?? []), ...tolerations];
  const all = inventory.nodes.filter(
    (node) =>
      mayLandOn(spec, ANYTHING, node) &&
      nodeRequirements.every((requirement) => meets(requirement, labelOf(node, requirement.key))),
  );
  // Of a pod with a nodeName nobody asks what it tolerates.
  if (spec.nodeName !== undefined && spec.nodeName !== '') return { nodes: all, barred: [] };
  const nodes = all.filter((node) => tolerates(tolerated, node));
  return { nodes, barred: nodes.length === all.length ? [] : all.filter((node) => !tolerates(tolerated, node)) };
}
