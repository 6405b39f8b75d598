// SPDX-License-Identifier: Apache-2.0
import { parseQuantity } from '#kube/quantity.ts';
import type { NodeSettings } from '../nodes/node-view.ts';
import type { PolicyDecision, SliceSettings } from '../slice/context.ts';
import { compileSelector } from './label-selector.ts';
import type { LabelMatcher, Labels } from './label-selector.ts';
import type { PolicyDocument, PolicyRule, SharedResourceEntry, Strategy } from './policy-document.ts';

const GPU_RESOURCE = 'nvidia.com/gpu';

interface CompiledRule {
  readonly namespace: LabelMatcher | undefined;
  readonly pod: LabelMatcher | undefined;
  readonly decision: PolicyDecision;
}

export interface DeliveryPolicy {
  readonly strategy: Strategy;
  readonly betaImageVolumes: boolean;
  readonly namespaces: readonly { readonly matches: LabelMatcher | undefined; readonly strategy: Strategy }[];
}

/** A document made ready for use: plain data and functions, never changed. */
export interface Policy {
  readonly nodes: NodeSettings;
  readonly slices: SliceSettings;
  readonly delivery: DeliveryPolicy;
  readonly rules: readonly CompiledRule[];
  /** Something in it asks for the labels of a namespace. */
  readonly readsNamespaces: boolean;
}

/** @param document checked by readPolicyDocument */
export function compilePolicy(document: PolicyDocument): Policy {
  const { gpuResource = GPU_RESOURCE, sharedResources = [], delivery = {} } = document;
  return {
    nodes: { gpuResource, sharedResources: sharedResources.map(toSharedResource) },
    slices: {
      gpuResource,
      preference: preferenceOf(gpuResource, sharedResources),
      tolerations: document.tolerations ?? [],
      nodeRequirements: document.nodeRequirements ?? [],
    },
    delivery: {
      strategy: delivery.strategy ?? 'auto',
      betaImageVolumes: delivery.betaImageVolumes ?? false,
      namespaces: (delivery.namespaces ?? []).map(({ namespaceSelector, strategy }) => ({
        matches: compileSelector(namespaceSelector),
        strategy,
      })),
    },
    rules: (document.rules ?? []).map((rule) => ({
      namespace: compileSelector(rule.namespaceSelector),
      pod: compileSelector(rule.podSelector),
      decision: toDecision(rule),
    })),
    readsNamespaces:
      (delivery.namespaces ?? []).length > 0 ||
      (document.rules ?? []).some(({ namespaceSelector }) => compileSelector(namespaceSelector) !== undefined),
  };
}

/** What holds without a document: nobody is enrolled, and nodes are believed. */
export const NO_POLICY: Policy = compilePolicy({ version: 1 });

/**
 * The first rule that matches. `unknown`: a rule asks for labels of the namespace, and they are not known; nothing can be said
 * about the rules after it either.
 * @param namespace its labels, undefined while they are not known
 */
export function decide(
  policy: Policy,
  namespace: Labels | undefined,
  pod: Labels,
): PolicyDecision | 'unknown' | undefined {
  for (const rule of policy.rules) {
    if (rule.pod !== undefined && !rule.pod(pod)) continue;
    if (rule.namespace === undefined) return rule.decision;
    if (namespace === undefined) return 'unknown';
    if (rule.namespace(namespace)) return rule.decision;
  }
  return undefined;
}

/** Those that are named in their order; the usual name of the renamed one comes first where the document names none. */
function preferenceOf(gpuResource: string, named: readonly SharedResourceEntry[]): readonly string[] {
  return named.length > 0 ? named.map(({ name }) => name) : [`${gpuResource}.shared`];
}

function toSharedResource({ memoryPerSlot, ...entry }: SharedResourceEntry): NodeSettings['sharedResources'][number] {
  const bytes = parseQuantity(memoryPerSlot);
  return { ...entry, ...(bytes === undefined ? {} : { memoryPerSlot: Math.floor(bytes) }) };
}

function toDecision({ name, action, ratio, vram, workloadType, dryRun }: PolicyRule): PolicyDecision {
  const bytes = parseQuantity(vram);
  return {
    rule: name,
    action,
    ...(ratio === undefined ? {} : { ratio }),
    ...(bytes === undefined ? {} : { vram: Math.floor(bytes) }),
    ...(workloadType === undefined ? {} : { workloadType }),
    ...(dryRun === true ? { dryRun } : {}),
  };
}
