// SPDX-License-Identifier: Apache-2.0
import type { InferenceAppCondition } from '#crds/inference-app.gen.ts';
import type { ConditionType, Reason } from '#crds/names.ts';
import { mergeConditions } from '#kube/conditions.ts';

/** Longest sentence that leaves for a status or an Event; a status is no log. The schema allows 1024, and so do Events. */
const MAX_SENTENCE = 1000;

export interface Finding {
  readonly type: ConditionType;
  readonly status: 'True' | 'False' | 'Unknown';
  readonly reason: Reason;
  readonly message: string;
}

/** Exactly the findings as conditions, each keeping its lastTransitionTime while its status stays; sorted by type. */
export function toConditions(
  findings: readonly Finding[],
  previous: readonly InferenceAppCondition[] | undefined,
  generation: number | undefined,
  now: number,
): InferenceAppCondition[] {
  const types = new Set<string>(findings.map((finding) => finding.type));
  const inputs = findings.map((finding) => ({ ...finding, observedGeneration: generation }));
  const ours = (previous ?? []).filter((condition) => types.has(condition.type));
  return mergeConditions(ours, inputs, now).toSorted((a, b) => (a.type < b.type ? -1 : 1));
}

/** RFC 3339 in whole seconds, as Kubernetes writes its times. */
export function timestamp(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}

export function shorten(text: string): string {
  return text.length <= MAX_SENTENCE ? text : `${text.slice(0, MAX_SENTENCE - 1).toWellFormed()}…`;
}
