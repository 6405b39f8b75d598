// SPDX-License-Identifier: Apache-2.0
import type { InferenceApp } from '#crds/inference-app.gen.ts';
import type { AppMemory, UnitAction } from '../decide/types.ts';
import { operatorError } from '../errors.ts';
import type { UnitDriver } from './unit-driver.ts';

export interface ActionDeps {
  readonly driver: UnitDriver;
  /** Asks the gateway's queue: `busy` while the unit holds a live lease. */
  readonly retire: (appUid: string, unit: string) => Promise<'retired' | 'busy'>;
  /** Asked right before each action: whether this process still is the one that acts. Absent = there is only one. */
  readonly mayAct?: () => boolean;
}

export interface ActionResult {
  readonly action: UnitAction;
  readonly outcome: 'done' | 'busy' | 'failed';
  readonly error?: unknown;
}

/**
 * Carries out what was decided, one action after another. A failed action keeps no other from running. The order of a retirement is
 * what makes it safe: first the queue (from then on it can lease nothing), then the mark; the removal is a later decision.
 */
export async function executeActions(
  deps: ActionDeps,
  app: InferenceApp,
  actions: readonly UnitAction[],
): Promise<readonly ActionResult[]> {
  const results: ActionResult[] = [];
  for (const action of actions) {
    try {
      results.push({ action, outcome: await execute(deps, app, action) });
    } catch (error) {
      results.push({ action, outcome: 'failed', error });
    }
  }
  return results;
}

async function execute(deps: ActionDeps, app: InferenceApp, action: UnitAction): Promise<'done' | 'busy'> {
  const { namespace = '', uid = '' } = app.metadata;
  if (deps.mayAct?.() === false) throw operatorError('not-leading', 'another replica acts now');
  if (action.type === 'create') {
    await deps.driver.create(action.plan);
    return 'done';
  }
  if (action.type === 'remove') {
    await deps.driver.remove(namespace, action.unit);
    return 'done';
  }
  if ((await deps.retire(uid, action.unit)) === 'busy') return 'busy';
  if (action.type === 'dismiss') return 'done';
  await deps.driver.markRetired(namespace, action.unit, action.reason);
  return 'done';
}

/**
 * What the results add to the memory of the app: the cooldown starts only when a unit was really made; creations that were refused
 * (quota, admission) back off like units that fail.
 */
export function rememberResults(memory: AppMemory, results: readonly ActionResult[], now: number): AppMemory {
  const creations = results.filter((result) => result.action.type === 'create');
  const refused = creations.find((result) => result.outcome === 'failed');
  const made = creations.some((result) => result.outcome === 'done');
  return {
    ...memory,
    ...(made ? { lastScaleUpAt: now } : {}),
    ...(refused === undefined
      ? {}
      : {
          failures: memory.failures + 1,
          lastFailureAt: now,
          lastFailure: `a unit can't be made: ${textOf(refused.error)}`,
        }),
  };
}

/** For after the status was written: makes the app, and only this app, be retried with backoff. */
export function throwFailed(results: readonly ActionResult[]): void {
  const failed = results.filter((result) => result.outcome === 'failed');
  const first = failed[0]?.error;
  if (failed.length === 0) return;
  throw operatorError(
    'actions-failed',
    `${failed.length} of ${results.length} unit actions failed: ${textOf(first)}`,
    first,
  );
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
