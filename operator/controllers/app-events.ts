// SPDX-License-Identifier: Apache-2.0
import type { InferenceAppStatus } from '#crds/inference-app.gen.ts';
import { REASONS } from '#crds/names.ts';
import type { EventInput } from '#kube/events.ts';
import type { AppMemory } from '../decide/types.ts';
import type { ActionResult } from '../units/cycle.ts';

export type AppEvent = Omit<EventInput, 'regarding'>;

/** Events of one reconcile: what was done to units, and what changed for the app. At rest there are none. */
export function appEvents(
  previous: InferenceAppStatus | undefined,
  next: InferenceAppStatus,
  memory: { readonly before: AppMemory; readonly after: AppMemory },
  results: readonly ActionResult[],
): readonly AppEvent[] {
  return [...results.flatMap(ofResult), ...ofFailure(memory.before, memory.after), ...ofStatus(previous, next)];
}

function ofResult({ action, outcome, error }: ActionResult): AppEvent[] {
  if (action.type === 'create') {
    if (outcome === 'done') {
      const { unit, placement } = action.plan;
      return [normal(REASONS.unitCreated, 'Create', `unit ${unit} was created in placement ${placement}`)];
    }
    return [warning(REASONS.createFailed, 'Create', `a unit can't be made: ${textOf(error)}`)];
  }
  // What ended the unit was told already; that the queue heard of it is nobody's news.
  if (outcome !== 'done' || action.type === 'dismiss') return [];
  return action.type === 'retire'
    ? [warning(REASONS.unitRetired, 'Retire', action.message)]
    : [normal(REASONS.unitReaped, 'Remove', `unit ${action.unit} is over, its Job is removed`)];
}

function ofFailure(before: AppMemory, after: AppMemory): AppEvent[] {
  if (after.failures <= before.failures || after.lastFailure === undefined) return [];
  return [warning(REASONS.unitFailed, 'Start', `start ${after.failures} in a row failed: ${after.lastFailure}`)];
}

function ofStatus(previous: InferenceAppStatus | undefined, next: InferenceAppStatus): AppEvent[] {
  const events: AppEvent[] = [];
  const [before, ready] = [previous?.units?.ready ?? 0, next.units?.ready ?? 0];
  if (ready > before)
    events.push(normal(REASONS.unitReady, 'Serve', `${ready} of ${next.replicas ?? 0} units are serving`));
  if (previous?.phase !== next.phase && next.phase !== undefined) {
    const event = next.phase === 'Held' ? warning : normal;
    events.push(event(next.phase, 'Decide', next.reason ?? next.phase));
  }
  return events;
}

function normal(reason: string, action: string, note: string): AppEvent {
  return { type: 'Normal', reason, action, note };
}

function warning(reason: string, action: string, note: string): AppEvent {
  return { type: 'Warning', reason, action, note };
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
