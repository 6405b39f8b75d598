// SPDX-License-Identifier: Apache-2.0
import { decideUnits } from './decide.ts';
import { anInput } from './testing.ts';
import type { InputPatch } from './testing.ts';
import type { DecideInput } from './types.ts';

/** One row of a table of decisions: what is not wanted must not happen. */
export interface DecideCase {
  readonly given: InputPatch;
  readonly wantCreate?: number;
  readonly wantRetire?: readonly string[];
  readonly wantRemove?: readonly string[];
  readonly wantDismiss?: readonly string[];
  readonly wantPhase?: string;
  readonly wantReason?: RegExp;
  readonly wantRequeueMs?: number | 'none';
  readonly wantFailures?: number;
}

/** What was decided and what was wanted, in one shape: equal when the case holds. */
export function compare(want: DecideCase): { got: Record<string, unknown>; wanted: Record<string, unknown> } {
  const got = outcome(anInput(want.given));
  const wanted: Record<string, unknown> = {
    ...got,
    create: want.wantCreate ?? 0,
    retire: want.wantRetire ?? [],
    remove: want.wantRemove ?? [],
    dismiss: want.wantDismiss ?? [],
    phase: want.wantPhase ?? got['phase'],
    requeueMs: want.wantRequeueMs ?? got['requeueMs'],
    failures: want.wantFailures ?? got['failures'],
  };
  const matches = want.wantReason?.test(String(got['reason'])) ?? true;
  return { got, wanted: { ...wanted, reason: matches ? got['reason'] : String(want.wantReason) } };
}

function outcome(input: DecideInput): Record<string, unknown> {
  const { actions, status, requeueAfterMs, memory } = decideUnits(input);
  const of = (type: string): string[] =>
    actions.flatMap((action) => (action.type === type && action.type !== 'create' ? [action.unit] : [])).toSorted();
  return {
    create: actions.filter((action) => action.type === 'create').length,
    retire: of('retire'),
    remove: of('remove'),
    dismiss: of('dismiss'),
    phase: status.phase,
    reason: status.reason,
    requeueMs: requeueAfterMs ?? 'none',
    failures: memory.failures,
  };
}
