// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '#base/clock.ts';
import type { Logger } from '#base/logger.ts';
import { gauge } from '#base/metrics.ts';
import type { Gauge, Registry } from '#base/metrics.ts';
import type { Random } from '#base/random.ts';
import type { InferenceApp } from '#crds/inference-app.gen.ts';
import { revisionOf } from '#crds/revision.ts';
import { createController } from '#kube/controller.ts';
import { createKubeMetrics } from '#kube/kube-metrics.ts';
import { decideUnits } from '#operator/decide/decide.ts';
import { decideFinal } from '#operator/decide/finalize.ts';
import { EMPTY_MEMORY } from '#operator/decide/types.ts';
import type { AppMemory, Decision, PlacementChoice } from '#operator/decide/types.ts';
import { createDemandBoard } from '#operator/demand/demand-board.ts';
import type { DemandBoard, DemandView } from '#operator/demand/demand-board.ts';
import type { GatewayClient } from '#operator/demand/gateway-client.ts';
import { executeActions, rememberResults } from '#operator/units/cycle.ts';
import type { ActionDeps } from '#operator/units/cycle.ts';
import type { UnitObservation } from '#operator/units/unit-driver.ts';
import type { FileAppSource } from '#gateway/apps/file-source.ts';
import { LOCAL_PLACEMENT, unsupportedHere } from './local-rules.ts';
import type { ProcessDriver } from './process-driver.ts';

/** Demand may be this old when a decision is made: one request for a burst of wake-ups. */
const DEMAND_AGE_MS = 200;
/** A local process is started at once; this only bounds a machine that cannot fork. */
const SCHEDULE_GRACE_SECONDS = 60;
/** Between two steps of a deletion that waits for leases, and after an action that was refused. */
const RETRY_MS = 1_000;
const NAME = 'inferenceapp';

export interface SupervisorOptions {
  readonly apps: FileAppSource;
  readonly driver: ProcessDriver;
  readonly client: GatewayClient;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly registry: Registry;
}

export interface Supervisor {
  start(): void;
  stop(): Promise<void>;
}

/** The operator of one machine: the same decisions as in a cluster, carried out as local processes. */
export function createSupervisor(options: SupervisorOptions): Supervisor {
  const { apps, driver, client, clock, random, logger, registry } = options;
  const stopping = new AbortController();
  const controller = createController({
    name: NAME,
    reconcile: (uid) => reconciler.reconcile(uid),
    clock,
    logger,
    metrics: createKubeMetrics(registry),
  });
  const enqueueAll = (): void => apps.list().forEach(({ uid }) => controller.enqueue(uid));
  const onChange = (uid: string | undefined): void => (uid === undefined ? enqueueAll() : controller.enqueue(uid));
  const board = createDemandBoard({ client, clock, random, logger, onChange });
  const reconciler = new LocalReconciler(options, board);
  let running: Promise<void> | undefined;
  const onUnit = (uid: string): void => {
    reconciler.unitChanged(uid);
    controller.enqueue(uid);
  };
  const forgetters = [apps.onChange(enqueueAll), driver.onChange(onUnit)];
  return {
    start: () => {
      controller.start();
      running = board.run(stopping.signal);
      enqueueAll();
    },
    stop: async () => {
      for (const forget of forgetters) forget();
      stopping.abort(new Error('the supervisor stops'));
      await controller.stop();
      await running?.catch(() => {});
    },
  };
}

interface Result {
  readonly requeueAfterMs?: number | undefined;
}

class LocalReconciler {
  readonly #options: SupervisorOptions;
  readonly #board: DemandBoard;
  readonly #memories = new Map<string, AppMemory>();
  /** What the log last said of each app. */
  readonly #said = new Map<string, { readonly phase: string; readonly fields: string }>();
  /** Monotonic ms at which a unit of the app last came up or ended. */
  readonly #changedAt = new Map<string, number>();
  readonly #units: Gauge<'app'>;
  readonly #actions: ActionDeps;

  constructor(options: SupervisorOptions, board: DemandBoard) {
    const { driver, client, registry } = options;
    this.#options = options;
    this.#board = board;
    this.#actions = { driver, retire: (uid, unit) => client.retire(uid, unit) };
    this.#units = gauge(registry, 'penstock_standalone_units', 'units that run on this machine', ['app']);
  }

  unitChanged(uid: string): void {
    this.#changedAt.set(uid, this.#options.clock.monotonic());
  }

  async reconcile(uid: string): Promise<Result> {
    const { apps, driver } = this.#options;
    const app = apps.manifest(uid)?.app;
    if (app === undefined) return this.#forget(uid);
    const observed = await driver.observe(uid, app.metadata.namespace ?? '');
    this.#units.set({ app: labelOf(app) }, observed.filter(isAlive).length);
    const view = await this.#board.look(uid, this.#demandAge(uid));
    if (app.metadata.deletionTimestamp !== undefined)
      return await this.#finalize(app, uid, observed, view.demand !== undefined);
    return await this.#decide(app, uid, observed, view);
  }

  /** Demand from before a unit's end may hold the very requests that it answered: a unit would be started for nothing. */
  #demandAge(uid: string): number {
    const changedAt = this.#changedAt.get(uid);
    if (changedAt === undefined) return DEMAND_AGE_MS;
    return Math.min(DEMAND_AGE_MS, this.#options.clock.monotonic() - changedAt);
  }

  async #decide(app: InferenceApp, uid: string, units: readonly UnitObservation[], view: DemandView): Promise<Result> {
    const { clock, random, logger } = this.#options;
    const decision = decideUnits({
      app,
      revision: revisionOf(app),
      demand: view.demand,
      ...(view.problem === undefined ? {} : { gatewayProblem: view.problem }),
      units,
      placement: placementOf(app),
      memory: this.#memories.get(uid) ?? EMPTY_MEMORY,
      now: clock.now(),
      random,
    });
    const results = await executeActions(this.#actions, app, decision.actions);
    this.#memories.set(uid, rememberResults(decision.memory, results, clock.now()));
    for (const { error } of results) {
      if (error !== undefined) logger.warn({ app: labelOf(app), err: error }, 'action failed');
    }
    this.#say(app, uid, decision);
    const refused = results.some(({ outcome }) => outcome !== 'done');
    return { requeueAfterMs: refused ? RETRY_MS : decision.requeueAfterMs };
  }

  #say(app: InferenceApp, uid: string, { status }: Decision): void {
    const { logger } = this.#options;
    const [phase, fields] = [`${status.phase}: ${status.reason ?? ''}`, unsupportedHere(app)];
    const before = this.#said.get(uid);
    this.#said.set(uid, { phase, fields: fields.join() });
    if (fields.length > 0 && before?.fields !== fields.join())
      logger.warn({ app: labelOf(app), fields }, 'these fields have no effect in standalone');
    if (before?.phase !== phase) logger.info({ app: labelOf(app), phase: status.phase }, status.reason ?? '');
  }

  async #finalize(
    app: InferenceApp,
    uid: string,
    observed: readonly UnitObservation[],
    known: boolean,
  ): Promise<Result> {
    const { apps, client, logger } = this.#options;
    const purge = await client.purge(uid);
    const final = decideFinal(observed, known);
    await executeActions(this.#actions, app, final.actions);
    if (!final.unitsGone || purge !== 'done') return { requeueAfterMs: RETRY_MS };
    apps.purged(uid);
    this.#units.remove({ app: labelOf(app) });
    logger.info({ app: labelOf(app) }, 'app is gone: no unit, request or object of it is left');
    return this.#forget(uid);
  }

  #forget(uid: string): Result {
    this.#memories.delete(uid);
    this.#said.delete(uid);
    this.#changedAt.delete(uid);
    return {};
  }
}

function labelOf({ metadata }: InferenceApp): string {
  return `${metadata.namespace}.${metadata.name}`;
}

function isAlive({ phase }: UnitObservation): boolean {
  return phase === 'Starting' || phase === 'Running';
}

function placementOf(app: InferenceApp): PlacementChoice {
  return {
    kind: 'chosen',
    name: LOCAL_PLACEMENT,
    scheduleGraceSeconds: SCHEDULE_GRACE_SECONDS,
    unsupported: unsupportedHere(app),
  };
}
