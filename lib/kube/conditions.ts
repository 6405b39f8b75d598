// SPDX-License-Identifier: Apache-2.0
import type { Condition } from './types.ts';

/** Longest message that is kept: our CRDs allow 4096; people read less. Cut messages end in `…`. */
export const MAX_CONDITION_MESSAGE = 1024;

/** A condition as a controller states it. */
export interface ConditionInput<T extends string = string> {
  readonly type: T;
  readonly status: Condition['status'];
  /** PascalCase, never empty. */
  readonly reason: string;
  readonly message: string;
  readonly observedGeneration?: number | undefined;
}

/**
 * The conditions with `input` merged in; the given list is not touched. lastTransitionTime moves only when the status does.
 * Others keep their places, a new one goes to the end.
 * @param now Unix ms
 */
export function setCondition<C extends Condition>(
  conditions: readonly C[] | undefined,
  input: ConditionInput<C['type']>,
  now: number,
): C[] {
  const before = conditions?.find(({ type }) => type === input.type);
  const lastTransitionTime = before?.status === input.status ? before.lastTransitionTime : timeOf(now);
  const { type, status, reason, observedGeneration } = input;
  const made = {
    type,
    status,
    reason,
    message: cut(input.message),
    lastTransitionTime,
    ...(observedGeneration === undefined ? {} : { observedGeneration }),
  } as C;
  if (!before) return [...(conditions ?? []), made];
  return (conditions ?? []).map((other) => (other === before ? made : other));
}

/** All of `inputs` merged in, in order. */
export function mergeConditions<C extends Condition>(
  conditions: readonly C[] | undefined,
  inputs: readonly ConditionInput<C['type']>[],
  now: number,
): C[] {
  return inputs.reduce<C[]>((merged, input) => setCondition(merged, input, now), [...(conditions ?? [])]);
}

export function findCondition<C extends Condition>(
  conditions: readonly C[] | undefined,
  type: C['type'],
): C | undefined {
  return conditions?.find((condition) => condition.type === type);
}

/** metav1.Time: RFC 3339 in seconds. */
function timeOf(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z');
}

function cut(message: string): string {
  if (message.length <= MAX_CONDITION_MESSAGE) return message;
  // toWellFormed: a surrogate pair cut in half would be refused as invalid UTF-8.
  return `${message.slice(0, MAX_CONDITION_MESSAGE - 1).toWellFormed()}…`;
}
