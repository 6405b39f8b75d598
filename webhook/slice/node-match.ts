// SPDX-License-Identifier: Apache-2.0
// Which nodes a pod may land on, as the scheduler decides it. Whether a node takes pods at this moment is a question of its own: one
// that is cordoned or not ready may take them again before this one is placed.
import type { GpuNode } from './inventory.ts';
import { isBound } from './pod.ts';
import type { NodeSelectorRequirement, NodeSelectorTerm, PodSpec, PodToleration } from './pod.ts';

/** Effects that keep a pod away; PreferNoSchedule does not. */
const HARD_EFFECTS = new Set(['NoSchedule', 'NoExecute']);
/** Taints of this domain come and go with a node's condition, and with `kubectl cordon`. */
const PASSING = 'node.kubernetes.io/';
/** The taint of a cordoned node, also in the moments before it has it. */
const CORDONED = { key: `${PASSING}unschedulable`, effect: 'NoSchedule' };
const WHOLE_NUMBER = /^[+-]?\d{1,15}$/;

/** `tolerations`: the pod's, and those it is about to get. */
export function mayLandOn(spec: PodSpec, tolerations: readonly PodToleration[], node: GpuNode): boolean {
  // With a nodeName the scheduler is passed by, and its taints for scheduling with it.
  if (isBound(spec)) return spec.nodeName === node.name;
  return matchesSelector(spec, node) && matchesAffinity(spec, node) && tolerates(tolerations, node);
}

function matchesSelector(spec: PodSpec, node: GpuNode): boolean {
  const selector = spec.nodeSelector;
  if (selector === undefined) return true;
  return Object.entries(selector).every(([key, value]) => labelOf(node, key) === value);
}

function matchesAffinity(spec: PodSpec, node: GpuNode): boolean {
  const terms = spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms;
  return terms === undefined || terms.some((term) => matchesTerm(term, node));
}

/** Terms are alternatives; one without any requirement matches nothing. */
function matchesTerm(term: NodeSelectorTerm, node: GpuNode): boolean {
  const { matchExpressions = [], matchFields = [] } = term;
  if (matchExpressions.length + matchFields.length === 0) return false;
  return (
    matchExpressions.every((requirement) => meets(requirement, labelOf(node, requirement.key))) &&
    matchFields.every((field) => meets(field, field.key === 'metadata.name' ? node.name : undefined))
  );
}

/** Keys come from users: `constructor` is a possible one, and no label of every node. */
export function labelOf({ labels }: GpuNode, key: string): string | undefined {
  return Object.hasOwn(labels, key) ? labels[key] : undefined;
}

/** One requirement against the label's value, undefined where the node has no such label. An operator that is not known matches nothing. */
export function meets(requirement: NodeSelectorRequirement, value: string | undefined): boolean {
  const { operator, values = [] } = requirement;
  switch (operator) {
    case 'In':
      return value !== undefined && values.includes(value);
    case 'NotIn':
      return value === undefined || !values.includes(value);
    case 'Exists':
      return value !== undefined;
    case 'DoesNotExist':
      return value === undefined;
    case 'Gt':
    case 'Lt':
      return compares(operator, value, values[0]);
    default:
      return false;
  }
}

function compares(operator: 'Gt' | 'Lt', value: string | undefined, bound: string | undefined): boolean {
  if (value === undefined || bound === undefined || !WHOLE_NUMBER.test(value) || !WHOLE_NUMBER.test(bound))
    return false;
  return operator === 'Gt' ? Number(value) > Number(bound) : Number(value) < Number(bound);
}

/** Whether no taint keeps pods with these tolerations away; those of a node's condition do not count. */
export function tolerates(tolerations: readonly PodToleration[], node: GpuNode): boolean {
  return node.taints.every((taint) => taint.key.startsWith(PASSING) || isTolerated(tolerations, taint));
}

/** Whether the node takes pods with these tolerations at this moment: it is neither cordoned nor out of order. */
export function isInService(tolerations: readonly PodToleration[], node: GpuNode): boolean {
  return (
    node.taints.every((taint) => !taint.key.startsWith(PASSING) || isTolerated(tolerations, taint)) &&
    (!node.unschedulable || isTolerated(tolerations, CORDONED))
  );
}

function isTolerated(tolerations: readonly PodToleration[], taint: GpuNode['taints'][number]): boolean {
  return !HARD_EFFECTS.has(taint.effect) || tolerations.some((toleration) => covers(toleration, taint));
}

function covers(toleration: PodToleration, taint: GpuNode['taints'][number]): boolean {
  const { key, effect } = toleration;
  // Absent or empty: every key, every effect.
  if (effect && effect !== taint.effect) return false;
  if (key && key !== taint.key) return false;
  return coversValue(toleration, taint.value ?? '');
}

function coversValue({ key, operator, value = '' }: PodToleration, tainted: string): boolean {
  switch (operator || 'Equal') {
    case 'Exists':
      return true;
    case 'Equal':
      return Boolean(key) && value === tainted;
    case 'Gt':
    case 'Lt':
      // KEP-5471: the taint's value against the toleration's.
      return compares(operator === 'Gt' ? 'Gt' : 'Lt', tainted, value);
    default:
      return false;
  }
}
