// SPDX-License-Identifier: Apache-2.0
// The choice for a pod among the nodes that it may land on. It is remembered: pods of one template ask the same.
import { hash } from 'node:crypto';
import { choose } from './choose.ts';
import type { Choice } from './choose.ts';
import type { SliceContext } from './context.ts';
import type { Ask } from './fit.ts';
import type { GpuNode, Inventory } from './inventory.ts';
import type { Needs } from './needs.ts';
import { isInService, labelOf, mayLandOn, meets, tolerates } from './node-match.ts';
import { effectiveSum, isBound } from './pod.ts';
import type { PodSpec } from './pod.ts';
import { missing } from './serving.ts';

/** Templates that are being rolled out at a time; the choices of one are some hundred bytes for each of its few containers. */
const MAX_REMEMBERED = 512;
/** Keys in a sentence. */
const MAX_NAMED = 4;
/** Tolerates everything. */
const ANYTHING = [{ operator: 'Exists' }];

/** `needs`: what the pod asks for beside its GPUs. */
export type Chooser = (spec: PodSpec, asks: readonly Ask[], context: SliceContext, needs?: Needs) => Choice;

export const chooseNow: Chooser = (spec, asks, context, needs = new Map()) => {
  const { settings } = context;
  const { nodes, idle, barred } = landingNodes(spec, context);
  if (nodes.length + idle.length + barred.length === 0 && isKeptOff(spec, context)) {
    const keys = [...new Set(settings.nodeRequirements.map(({ key }) => key))].slice(0, MAX_NAMED).join(', ');
    const why = `no node that it may land on is as nodeRequirements of the policy say (${keys})`;
    return { kind: 'whole', reason: 'no-target', why };
  }
  const served = (wanted: readonly Ask[]): Choice =>
    choose(wanted, nodes, settings, { needs, barred: [...idle, ...barred] });
  let choice = served(asks);
  // What it was given before is none of these nodes': rather another slice at once than the same one some day.
  if (choice.kind === 'whole' && asks.some(({ held }) => held !== undefined)) {
    choice = served(asks.map((ask) => ({ ...ask, held: undefined })));
  }
  if (choice.kind === 'share' || couldRunWhole(spec, asks, context, needs)) return choice;
  // As it is it waits, too: for nodes that are in service again, where it is the slice that was asked for.
  const later = choose(asks, [...nodes, ...idle], settings, { needs, barred, canWait: true });
  return later.kind === 'share' ? { ...later, waits: choice.why } : choice;
};

/** Whether it is what the administrator demands of nodes that leaves none with parts of GPUs. */
function isKeptOff(spec: PodSpec, { settings, inventory }: SliceContext): boolean {
  if (settings.nodeRequirements.length === 0) return false;
  return inventory.nodes.some((node) => node.shared.length > 0 && mayLandOn(spec, ANYTHING, node));
}

/** Whether a node would take the pod at this moment were it left as it is. */
function couldRunWhole(
  spec: PodSpec,
  asks: readonly Ask[],
  { inventory, settings }: SliceContext,
  needs: Needs,
): boolean {
  const tolerations = spec.tolerations ?? [];
  const phases = asks.map(({ phase }) => phase);
  const gpus = asks.map((ask) => ask.gpus);
  const all = new Map([...needs, [settings.gpuResource, effectiveSum(phases, gpus)]]);
  return inventory.nodes.some(
    (node) =>
      mayLandOn(spec, tolerations, node) &&
      (isBound(spec) || isInService(tolerations, node)) &&
      missing(node, all) === undefined,
  );
}

/** Remembers choices until the nodes or the settings are others: both are snapshots that never change. */
export function createChooser(): Chooser {
  const remembered = new Map<string, Choice>();
  let inventory: Inventory | undefined;
  let settings: SliceContext['settings'] | undefined;
  return (spec, asks, context, needs) => {
    if (context.inventory !== inventory || context.settings !== settings) {
      ({ inventory, settings } = context);
      remembered.clear();
    }
    const key = keyOf(spec, asks, needs);
    const known = remembered.get(key);
    if (known !== undefined) return known;
    if (remembered.size >= MAX_REMEMBERED) remembered.clear();
    const choice = chooseNow(spec, asks, context, needs);
    remembered.set(key, choice);
    return choice;
  };
}

/** All that a choice depends on beside nodes and settings, hashed: pods bring as much of it as they like. */
function keyOf(spec: PodSpec, asks: readonly Ask[], needs: Needs = new Map()): string {
  const { nodeName, nodeSelector, affinity, tolerations } = spec;
  const all = [asks, [...needs], nodeName, nodeSelector, affinity?.nodeAffinity, tolerations];
  return hash('sha256', JSON.stringify(all), 'base64');
}

interface Landing {
  /** On these the pod may be once it has what slices get. */
  readonly nodes: readonly GpuNode[];
  /** On these, too, once they are in service again. */
  readonly idle: readonly GpuNode[];
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
  if (isBound(spec)) return { nodes: all, idle: [], barred: [] };
  const landing = { nodes: [] as GpuNode[], idle: [] as GpuNode[], barred: [] as GpuNode[] };
  for (const node of all) {
    if (!tolerates(tolerated, node)) landing.barred.push(node);
    else landing[isInService(tolerated, node) ? 'nodes' : 'idle'].push(node);
  }
  return landing;
}
