// SPDX-License-Identifier: Apache-2.0
import type { InferenceAppCondition } from '#crds/inference-app.gen.ts';
import type { ConditionType, Reason } from '#crds/names.ts';

/** Longest message that leaves for a status or an Event; a status is no log. The schema allows 4096, Events 1024. */
const MAX_MESSAGE = 1000;

export interface Finding {
  readonly type: ConditionType;
  readonly status: 'True' | 'False' | 'Unknown';
  readonly reason: Reason;
  readonly message: string;
}

/** The findings as conditions: lastTransitionTime moves only when `status` does. Order is by type, so that equal sets are equal. */
export function toConditions(
  findings: readonly Finding[],
  previous: readonly InferenceAppCondition[] | undefined,
  generation: number | undefined,
  now: number,
): InferenceAppCondition[] {
  return findings
    .map((finding): InferenceAppCondition => {
      const before = previous?.find((condition) => condition.type === finding.type);
      const since = before?.status === finding.status ? before.lastTransitionTime : timestamp(now);
      const condition = { ...finding, message: shorten(finding.message), lastTransitionTime: since };
      return generation === undefined ? condition : { ...condition, observedGeneration: generation };
    })
    .toSorted((a, b) => (a.type < b.type ? -1 : 1));
}

/** RFC 3339 in whole seconds, as Kubernetes writes its times. */
export function timestamp(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}

export function shorten(text: string): string {
  return text.length <= MAX_MESSAGE ? text : `${text.slice(0, MAX_MESSAGE - 1)}…`;
}
