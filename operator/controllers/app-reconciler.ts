// SPDX-License-Identifier: Apache-2.0
import type { InferenceApp } from '#crds/inference-app.gen.ts';
import type { Placement } from '#crds/placement.gen.ts';
import { revisionOf } from '#crds/revision.ts';
import type { Clock } from '#base/clock.ts';
import type { Random } from '#base/random.ts';
import type { Cache } from '#kube/cache.ts';
import type { Reconcile, ReconcileResult } from '#kube/controller.ts';
import type { EventRecorder } from '#kube/events.ts';
import { decideUnits } from '../decide/decide.ts';
import { choosePlacement } from '../decide/placement.ts';
import { EMPTY_MEMORY } from '../decide/types.ts';
import type { AppMemory, DecideInput } from '../decide/types.ts';
import type { DemandBoard, DemandView } from '../demand/demand-board.ts';
import type { OperatorMetrics } from '../metrics.ts';
import { executeActions, rememberResults, throwFailed } from '../units/cycle.ts';
import type { ActionDeps } from '../units/cycle.ts';
import { appEvents } from './app-events.ts';
import { StillLeaving } from './app-finalizer.ts';
import type { AppFinalizer } from './app-finalizer.ts';
import { checkSpec, imageProblem, invalidStatus } from './app-spec.ts';
import type { StatusWriter } from './status-writer.ts';

/** How old the demand may be that a decision is based on: a unit that ends must not be replaced for work it has done. */
const DEMAND_MAX_AGE_MS = 200;
/** A unit that was to be retired and turned out to be busy is asked for again. */
const BUSY_RETRY_MS = 5_000;

/** Adds or removes the finalizer as needed. True: nothing else is to be done now. */
export type WithFinalizer = (app: InferenceApp, onDelete: () => Promise<void>) => Promise<boolean>;

export interface AppReconcilerDeps extends ActionDeps {
  readonly apps: Cache<InferenceApp>;
  readonly placements: Cache<Placement>;
  readonly board: Pick<DemandBoard, 'look'>;
  readonly withFinalizer: WithFinalizer;
  readonly finalizer: AppFinalizer;
  readonly status: StatusWriter;
  readonly events: Pick<EventRecorder, 'record'>;
  readonly metrics: OperatorMetrics;
  readonly clock: Clock;
  readonly random: Random;
}

interface Remembered {
  readonly uid: string;
  readonly memory: AppMemory;
}

/** Brings one InferenceApp's units and status to what its spec and its queue ask for. */
export function createAppReconciler(deps: AppReconcilerDeps): Reconcile {
  const remembered = new Map<string, Remembered>();

  const forget = (key: string): void => {
    const uid = remembered.get(key)?.uid;
    remembered.delete(key);
    if (uid !== undefined) deps.status.forget(uid);
    deps.metrics.forgetApp(key);
  };

  return async (key) => {
    const app = deps.apps.get(key);
    if (app === undefined) return forget(key);
    try {
      if (await deps.withFinalizer(app, () => deps.finalizer.finalize(app))) return undefined;
    } catch (err) {
      if (err instanceof StillLeaving) return { requeueAfterMs: err.retryAfterMs };
      throw err;
    }
    const checked = checkSpec(app);
    if (!checked.ok) {
      await deps.status.write(app, invalidStatus(app, checked.message, deps.clock.now()));
      return undefined;
    }
    const known = remembered.get(key);
    // A re-created app of the same name is another app: it inherits nothing, not even a backoff.
    const memory = known !== undefined && known.uid === app.metadata.uid ? known.memory : EMPTY_MEMORY;
    const view = await deps.board.look(app.metadata.uid ?? '', DEMAND_MAX_AGE_MS);
    const input = await observe(deps, checked.app, view, memory);
    const remember = (after: AppMemory): void =>
      void remembered.set(key, { uid: app.metadata.uid ?? '', memory: after });
    const retries = input.units.map((unit) => unit.retryAfterMs);
    return soonest(await act(deps, key, input, remember), view.retryAfterMs, ...retries);
  };
}

async function observe(
  deps: AppReconcilerDeps,
  app: InferenceApp,
  view: DemandView,
  memory: AppMemory,
): Promise<DecideInput> {
  const { uid = '', namespace = '' } = app.metadata;
  // After the demand: a unit that ended in between is then seen as ended with the demand that it left behind.
  const units = await deps.driver.observe(uid, namespace);
  const placements = new Map(deps.placements.list().map((placement) => [placement.metadata.name, placement]));
  const placement = choosePlacement(app, placements);
  const specProblem = imageProblem(app, placement);
  return {
    app,
    revision: revisionOf(app),
    demand: view.demand,
    ...(view.problem === undefined ? {} : { gatewayProblem: view.problem }),
    ...(specProblem === undefined ? {} : { specProblem }),
    units,
    placement,
    memory,
    now: deps.clock.now(),
    random: deps.random,
  };
}

async function act(
  deps: AppReconcilerDeps,
  key: string,
  input: DecideInput,
  remember: (memory: AppMemory) => void,
): Promise<ReconcileResult> {
  const { app } = input;
  const decision = decideUnits(input);
  const results = await executeActions(deps, app, decision.actions);
  const memory = rememberResults(decision.memory, results, deps.clock.now());
  remember(memory);
  deps.metrics.observe(key, decision.status, results);
  for (const event of appEvents(app.status, decision.status, { before: input.memory, after: memory }, results)) {
    deps.events.record({ ...event, regarding: app });
  }
  const deferredMs = await deps.status.write(app, decision.status);
  throwFailed(results);
  const busyMs = results.some((result) => result.outcome === 'busy') ? BUSY_RETRY_MS : undefined;
  return soonest({ requeueAfterMs: decision.requeueAfterMs }, deferredMs, busyMs);
}

function soonest(result: ReconcileResult, ...others: readonly (number | undefined)[]): ReconcileResult {
  const waits = [result.requeueAfterMs, ...others].filter((ms) => ms !== undefined);
  return waits.length === 0 ? {} : { requeueAfterMs: Math.min(...waits) };
}
