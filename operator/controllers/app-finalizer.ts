// SPDX-License-Identifier: Apache-2.0
import type { InferenceApp, InferenceAppStatus } from '#crds/inference-app.gen.ts';
import { CONDITIONS, REASONS } from '#crds/names.ts';
import type { Clock } from '#base/clock.ts';
import type { EventRecorder } from '#kube/events.ts';
import { shorten, toConditions } from '../decide/conditions.ts';
import { decideFinal } from '../decide/finalize.ts';
import type { GatewayClient } from '../demand/gateway-client.ts';
import { executeActions, throwFailed } from '../units/cycle.ts';
import type { ActionDeps } from '../units/cycle.ts';
import type { UnitObservation } from '../units/unit-driver.ts';
import type { StatusWriter } from './status-writer.ts';

/** Units end and purges step on in seconds; changes of Jobs come as events anyway. */
const RETRY_MS = 2_000;
/** Without a gateway nothing moves. */
const GATEWAY_RETRY_MS = 5_000;

/** The app can't go yet; not an error. */
export class StillLeaving extends Error {
  readonly retryAfterMs: number;

  constructor(message: string, retryAfterMs: number) {
    super(message);
    this.name = 'StillLeaving';
    this.retryAfterMs = retryAfterMs;
  }
}

export interface AppFinalizerDeps extends ActionDeps {
  readonly purge: GatewayClient['purge'];
  readonly status: StatusWriter;
  readonly events: Pick<EventRecorder, 'record'>;
  readonly clock: Clock;
}

export interface AppFinalizer {
  /** @throws StillLeaving until nothing of the app is left anywhere */
  finalize(app: InferenceApp): Promise<void>;
}

/**
 * Deleting an app: the gateway closes it at once (queued requests end as cancelled), each unit is retired as soon as it holds
 * nothing, Jobs and Secrets go, and the purge must be complete after the last unit has gone. Busy units finish what they hold.
 */
export function createAppFinalizer(deps: AppFinalizerDeps): AppFinalizer {
  return {
    finalize: async (app) => {
      const { uid = '', namespace = '' } = app.metadata;
      // Before the purge: "done" counts only when no unit was left to write anything more.
      const units = await deps.driver.observe(uid, namespace);
      const purge = await tryPurge(deps, uid);
      const { actions, unitsGone } = decideFinal(units, purge.kind === 'known');
      const results = await executeActions(deps, app, actions);
      if (unitsGone && purge.kind === 'known' && purge.done) {
        deps.status.forget(uid);
        const note = 'no unit is left and the gateway has removed queue, results and objects of the app';
        deps.events.record({ regarding: app, type: 'Normal', reason: REASONS.purged, action: 'Finalize', note });
        return;
      }
      const waiting = waitingFor(units, purge);
      await deps.status.write(app, leavingStatus(app, waiting, units.length, deps.clock.now()));
      throwFailed(results);
      throw new StillLeaving(waiting, purge.kind === 'known' ? RETRY_MS : GATEWAY_RETRY_MS);
    },
  };
}

type Purge =
  | { readonly kind: 'known'; readonly done: boolean }
  | { readonly kind: 'unknown'; readonly problem: string };

async function tryPurge(deps: AppFinalizerDeps, uid: string): Promise<Purge> {
  try {
    return { kind: 'known', done: (await deps.purge(uid)) === 'done' };
  } catch (err) {
    return { kind: 'unknown', problem: err instanceof Error ? err.message : String(err) };
  }
}

function waitingFor(units: readonly UnitObservation[], purge: Purge): string {
  if (purge.kind === 'unknown') return `the app is being deleted and waits for the gateway: ${purge.problem}`;
  if (units.length > 0) return 'the app is being deleted; its units finish what they hold and leave';
  return 'the app is being deleted; the gateway removes what is left of it';
}

function leavingStatus(app: InferenceApp, reason: string, units: number, now: number): InferenceAppStatus {
  const { generation } = app.metadata;
  const message = shorten(reason);
  const finding = { type: CONDITIONS.ready, status: 'False', reason: REASONS.deleting, message } as const;
  return {
    phase: 'Draining',
    reason: message,
    replicas: 0,
    units: { starting: 0, ready: 0, leaving: units, failed: 0 },
    conditions: toConditions([finding], app.status?.conditions, generation, now),
    ...(generation === undefined ? {} : { observedGeneration: generation }),
  };
}
