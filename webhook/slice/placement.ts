// SPDX-License-Identifier: Apache-2.0
// Tolerations and required node affinity of a sliced pod.
import type { NodeRequirement, Toleration } from './context.ts';
import type { Patch } from './patch.ts';
import type { NodeSelectorTerm, PodSpec, PodToleration } from './pod.ts';

const REQUIRED = 'requiredDuringSchedulingIgnoredDuringExecution';

export function addTolerations(patch: Patch, spec: PodSpec, wanted: readonly Toleration[]): void {
  const missing = wanted.filter((toleration) => !spec.tolerations?.some((own) => sameToleration(own, toleration)));
  patch.append('/spec/tolerations', spec.tolerations, missing);
}

/** Each requirement in each of the alternatives that a pod has already: all must hold, whichever it is. */
export function addRequirements(patch: Patch, spec: PodSpec, wanted: readonly NodeRequirement[]): void {
  // The scheduler does not see a pod with a nodeName; the kubelet would refuse it over a label that is not there yet.
  if (wanted.length === 0 || (spec.nodeName !== undefined && spec.nodeName !== '')) return;
  const nodeAffinity = spec.affinity?.nodeAffinity;
  const terms = nodeAffinity?.[REQUIRED]?.nodeSelectorTerms;
  const selector = { nodeSelectorTerms: [{ matchExpressions: wanted }] };
  if (spec.affinity === undefined) patch.add('/spec/affinity', { nodeAffinity: { [REQUIRED]: selector } });
  else if (nodeAffinity === undefined) patch.add('/spec/affinity/nodeAffinity', { [REQUIRED]: selector });
  else if (nodeAffinity[REQUIRED] === undefined) patch.add(`/spec/affinity/nodeAffinity/${REQUIRED}`, selector);
  terms?.forEach((term, index) =>
    addToTerm(patch, `/spec/affinity/nodeAffinity/${REQUIRED}/nodeSelectorTerms/${index}`, term, wanted),
  );
}

function addToTerm(patch: Patch, path: string, term: NodeSelectorTerm, wanted: readonly NodeRequirement[]): void {
  const { matchExpressions, matchFields = [] } = term;
  // A term without requirements matches no node; with one it would.
  if ((matchExpressions?.length ?? 0) + matchFields.length === 0) return;
  const missing = wanted.filter((requirement) => !matchExpressions?.some((own) => sameRequirement(own, requirement)));
  patch.append(`${path}/matchExpressions`, matchExpressions, missing);
}

function sameToleration(a: PodToleration, b: Toleration): boolean {
  return (
    (a.key ?? '') === (b.key ?? '') &&
    (a.operator ?? 'Equal') === (b.operator ?? 'Equal') &&
    (a.value ?? '') === (b.value ?? '') &&
    (a.effect ?? '') === (b.effect ?? '')
  );
}

function sameRequirement(
  a: { key: string; operator: string; values?: readonly string[] },
  b: NodeRequirement,
): boolean {
  return a.key === b.key && a.operator === b.operator && (a.values ?? []).join() === (b.values ?? []).join();
}
