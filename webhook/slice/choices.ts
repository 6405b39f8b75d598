// SPDX-License-Identifier: Apache-2.0
// The choice for a pod among the nodes that it may land on. In large clusters it is remembered: pods of one template ask the same.
import { choose } from './choose.ts';
import type { Choice } from './choose.ts';
import type { SliceContext } from './context.ts';
import type { Ask } from './fit.ts';
import type { GpuNode, Inventory } from './inventory.ts';
import { mayLandOn, meets } from './node-match.ts';
import type { PodSpec } from './pod.ts';

/** Below this a choice is made in the time that it takes to look one up. */
const FEW_NODES = 32;
/** Templates that are being rolled out at a time; the choices of one are some hundred bytes. */
const MAX_REMEMBERED = 512;

export type Chooser = (spec: PodSpec, asks: readonly Ask[], context: SliceContext) => Choice;

export const chooseNow: Chooser = (spec, asks, context) => choose(asks, landingNodes(spec, context), context.settings);

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
    const key = keyOf(spec, asks);
    const known = remembered.get(key);
    if (known !== undefined) return known;
    if (remembered.size >= MAX_REMEMBERED) remembered.clear();
    const choice = chooseNow(spec, asks, context);
    remembered.set(key, choice);
    return choice;
  };
}

/** All that a choice depends on beside nodes and settings. */
function keyOf({ nodeName, nodeSelector, affinity, tolerations }: PodSpec, asks: readonly Ask[]): string {
  return JSON.stringify([asks, nodeName, nodeSelector, affinity?.nodeAffinity, tolerations]);
}

/** Nodes on which the pod may be once it has what slices get. */
function landingNodes(spec: PodSpec, { settings, inventory }: SliceContext): GpuNode[] {
  const { tolerations, nodeRequirements } = settings;
  const tolerated = [...(spec.tolerations ?? []), ...tolerations];
  return inventory.nodes.filter(
    (node) =>
      mayLandOn(spec, tolerated, node) &&
      nodeRequirements.every((requirement) => meets(requirement, node.labels[requirement.key])),
  );
}
