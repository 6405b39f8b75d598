// SPDX-License-Identifier: Apache-2.0
// Tolerations and required node affinity of a sliced pod.
import type { NodeRequirement, Toleration } from './context.ts';
import type { Patch } from './patch.ts';
import { isBound } from './pod.ts';
import type { NodeSelectorRequirement, NodeSelectorTerm, PodSpec, PodToleration } from './pod.ts';

const REQUIRED = 'requiredDuringSchedulingIgnoredDuringExecution';
/**
 * What slices ask of nodes, and hardly anybody else: how cards are split. Of products and names of hosts other admission may have spoken,
 * of whose words a forged record would rid the pod.
 */
const OF_SLICES: ReadonlySet<string> = new Set(
  [
    ['count', 'In'],
    ['replicas', 'In'],
    ['sharing-strategy', 'In'],
    ['memory', 'In'],
    ['memory', 'Gt'],
  ].map(([label, operator]) => `nvidia.com/gpu.${label} ${operator}`),
);

/** Alternatives of a pod's required node affinity: each gets our requirements, so the patch grows with them. */
const MAX_TERMS = 64;
/** Requirements, values, selectors and tolerations: each is held against each node. */
const MAX_ITEMS = 1024;

/** Why the pod's placement is more than is looked at, for people. */
export function placementExcess(spec: PodSpec): string | undefined {
  const terms = termsOf(spec) ?? [];
  if (terms.length > MAX_TERMS) return `its node affinity has ${terms.length} terms, more than ${MAX_TERMS}`;
  let items = (spec.tolerations?.length ?? 0) + Object.keys(spec.nodeSelector ?? {}).length;
  for (const { matchExpressions = [], matchFields = [] } of terms) {
    items += matchExpressions.length + matchFields.length;
    for (const list of [matchExpressions, matchFields]) for (const { values } of list) items += values?.length ?? 0;
  }
  return items > MAX_ITEMS
    ? `its node affinity, node selector and tolerations have ${items} entries, more than ${MAX_ITEMS}`
    : undefined;
}

export function addTolerations(patch: Patch, spec: PodSpec, wanted: readonly Toleration[]): void {
  const missing = wanted.filter((toleration) => !spec.tolerations?.some((own) => sameToleration(own, toleration)));
  patch.append('/spec/tolerations', spec.tolerations, missing);
}

/** Each requirement in each of the alternatives that a pod has already: all must hold, whichever it is. */
export function addRequirements(patch: Patch, spec: PodSpec, wanted: readonly NodeRequirement[]): void {
  // The kubelet would refuse it over a label that is not there yet.
  if (wanted.length === 0 || isBound(spec)) return;
  const nodeAffinity = spec.affinity?.nodeAffinity;
  const terms = termsOf(spec);
  const selector = { nodeSelectorTerms: [{ matchExpressions: wanted }] };
  if (spec.affinity === undefined) patch.add('/spec/affinity', { nodeAffinity: { [REQUIRED]: selector } });
  else if (nodeAffinity === undefined) patch.add('/spec/affinity/nodeAffinity', { [REQUIRED]: selector });
  else if (nodeAffinity[REQUIRED] === undefined) patch.add(`/spec/affinity/nodeAffinity/${REQUIRED}`, selector);
  terms?.forEach((term, index) =>
    addToTerm(patch, `/spec/affinity/nodeAffinity/${REQUIRED}/nodeSelectorTerms/${index}`, term, wanted),
  );
}

/** Those that are the slices' alone: what a part of the pod's own terms says already is left to it. */
export function ownRequirements(
  spec: PodSpec,
  wanted: readonly NodeRequirement[],
  recorded: readonly NodeRequirement[],
): NodeRequirement[] {
  if (isBound(spec)) return [];
  const terms = (termsOf(spec) ?? []).filter((term) => !isEmpty(term));
  const kept = recorded.filter((one) => terms.length > 0 && terms.every((term) => has(term, one)));
  return [...kept, ...wanted.filter((one) => !terms.some((term) => has(term, one)))];
}

/** Those of the record that stay in the pod: see OF_SLICES. `stated`: by the administrator, now. */
export function lastingRequirements(
  spec: PodSpec,
  recorded: readonly NodeRequirement[],
  stated: readonly NodeRequirement[],
): NodeRequirement[] {
  const terms = termsOf(spec) ?? [];
  return recorded.filter((one) => !isOfSlices(one, stated) && terms.some((term) => has(term, one)));
}

function isOfSlices(one: NodeRequirement, stated: readonly NodeRequirement[]): boolean {
  return OF_SLICES.has(`${one.key} ${one.operator}`) || stated.some((own) => sameRequirement(own, one));
}

/** Takes the slices' requirements out again. */
export function removeRequirements(
  patch: Patch,
  spec: PodSpec,
  recorded: readonly NodeRequirement[],
  stated: readonly NodeRequirement[],
): void {
  const ours = recorded.filter((one) => isOfSlices(one, stated));
  const terms = termsOf(spec);
  if (ours.length === 0 || terms === undefined) return;
  const left = terms.map((term) =>
    term.matchExpressions?.filter((own) => !ours.some((one) => sameRequirement(own, one))),
  );
  const emptied = terms.map(
    (term, index) => !isEmpty(term) && left[index]?.length === 0 && (term.matchFields?.length ?? 0) === 0,
  );
  if (emptied.every(Boolean)) {
    removeSelector(patch, spec);
    return;
  }
  for (let index = terms.length - 1; index >= 0; index -= 1) {
    const path = `/spec/affinity/nodeAffinity/${REQUIRED}/nodeSelectorTerms/${index}`;
    if (emptied[index]) patch.remove(path);
    else if (left[index]?.length !== terms[index]?.matchExpressions?.length) {
      patch.replace(`${path}/matchExpressions`, left[index]);
    }
  }
}

/** With what held nothing else. */
function removeSelector(patch: Patch, { affinity }: PodSpec): void {
  const alone = Object.keys(affinity?.nodeAffinity ?? {}).length === 1;
  if (alone && Object.keys(affinity ?? {}).length === 1) patch.remove('/spec/affinity');
  else patch.remove(`/spec/affinity/nodeAffinity${alone ? '' : `/${REQUIRED}`}`);
}

function termsOf({ affinity }: PodSpec): readonly NodeSelectorTerm[] | undefined {
  return affinity?.nodeAffinity?.[REQUIRED]?.nodeSelectorTerms;
}

function addToTerm(patch: Patch, path: string, term: NodeSelectorTerm, wanted: readonly NodeRequirement[]): void {
  // A term without requirements matches no node; with one it would.
  if (isEmpty(term)) return;
  const missing = wanted.filter((requirement) => !has(term, requirement));
  patch.append(`${path}/matchExpressions`, term.matchExpressions, missing);
}

function isEmpty({ matchExpressions, matchFields }: NodeSelectorTerm): boolean {
  return (matchExpressions?.length ?? 0) + (matchFields?.length ?? 0) === 0;
}

function has({ matchExpressions }: NodeSelectorTerm, requirement: NodeRequirement): boolean {
  return matchExpressions?.some((own) => sameRequirement(own, requirement)) ?? false;
}

function sameToleration(a: PodToleration, b: Toleration): boolean {
  return (
    (a.key ?? '') === (b.key ?? '') &&
    (a.operator ?? 'Equal') === (b.operator ?? 'Equal') &&
    (a.value ?? '') === (b.value ?? '') &&
    (a.effect ?? '') === (b.effect ?? '')
  );
}

function sameRequirement(a: NodeSelectorRequirement, b: NodeSelectorRequirement): boolean {
  return a.key === b.key && a.operator === b.operator && (a.values ?? []).join() === (b.values ?? []).join();
}
