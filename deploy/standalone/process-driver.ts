// SPDX-License-Identifier: Apache-2.0
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Clock } from '#base/clock.ts';
import type { Signer } from '#base/issuer.ts';
import type { Logger } from '#base/logger.ts';
import { OPERATOR_ISSUER, UNIT_AUDIENCE, UNIT_TOKEN_SECONDS } from '#base/wire/claims.ts';
import { UNIT_EXIT } from '#base/wire/unit-env.ts';
import type { UnitDriver, UnitObservation, UnitPlan } from '#operator/units/unit-driver.ts';
import { unitEnv } from './unit-env.ts';
import { startUnitProcess } from './unit-process.ts';
import type { UnitProcess } from './unit-process.ts';

/** How often a starting unit is looked at until it is ready. */
const READY_POLL_MS = 100;

export interface ProcessDriverOptions {
  /** Folder for the units' own files. */
  readonly dir: string;
  /** Origin of the gateway's internal port. */
  readonly brokerUrl: string;
  /** Working directory of an app's units. */
  readonly folderOf: (appUid: string) => string | undefined;
  readonly signer: Signer;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly logLevel: string;
}

export interface ProcessDriver extends UnitDriver {
  /** Ends every unit: SIGTERM, then SIGKILL; resolves when none is left. */
  stop(): Promise<void>;
  count(): number;
}

interface Unit {
  readonly plan: UnitPlan;
  readonly process: UnitProcess;
  readonly createdAt: number;
  retired: boolean;
}

/** Units as processes of this machine. Nothing is kept over a restart: units end with the process that started them. */
export function createProcessDriver(options: ProcessDriverOptions): ProcessDriver {
  const { clock, logger, signer } = options;
  const units = new Map<string, Unit>();
  const listeners = new Set<(appUid: string) => void>();
  const changed = (appUid: string): void => {
    for (const listener of listeners) listener(appUid);
  };
  return {
    observe: async (appUid) => [...units.values()].filter(({ plan }) => plan.appUid === appUid).map(observation),
    create: async (plan) => {
      if (units.has(plan.unit)) return;
      const token = await signer.sign(claimsOf(plan), UNIT_TOKEN_SECONDS);
      const { brokerUrl, logLevel } = options;
      const started = startUnitProcess({
        dir: join(options.dir, plan.unit),
        token,
        cwd: options.folderOf(plan.appUid) ?? options.dir,
        runtime: RUNTIME,
        env: (files) => unitEnv(plan, { ...files, brokerUrl, logLevel }, process.env),
        onPrint: (line) => logger.debug({ unit: plan.unit }, line),
        onChange: () => {
          logger.info({ unit: plan.unit, exitCode: started.exit() }, 'unit has ended');
          changed(plan.appUid);
        },
      });
      units.set(plan.unit, { plan, process: started, createdAt: clock.now(), retired: false });
      logger.info({ unit: plan.unit, app: plan.app.metadata.name, pid: started.pid }, 'unit started');
      void watchReady(started, clock, () => changed(plan.appUid));
    },
    markRetired: async (_namespace, unit) => {
      const found = units.get(unit);
      if (found === undefined) return;
      found.retired = true;
      found.process.end();
    },
    remove: async (_namespace, unit) => {
      const found = units.get(unit);
      if (found === undefined) return;
      if (found.process.exit() === undefined) {
        // Only units that the gateway has retired are removed alive: whatever they still compute can't be committed.
        found.process.kill();
        await found.process.ended;
      }
      found.process.removeFiles();
      units.delete(unit);
    },
    onChange: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    stop: async () => {
      for (const { process } of units.values()) process.end();
      await Promise.all([...units.values()].map(({ process }) => process.ended));
      for (const { process } of units.values()) process.removeFiles();
      units.clear();
    },
    count: () => [...units.values()].filter(({ process }) => process.exit() === undefined).length,
  };
}

const RUNTIME = fileURLToPath(new URL('../../worker-runtime/main.ts', import.meta.url));

function claimsOf({ unit, app, appUid, revision, placement }: UnitPlan) {
  const { namespace = '', name } = app.metadata;
  const subject = { iss: OPERATOR_ISSUER, aud: UNIT_AUDIENCE, sub: unit };
  return { ...subject, app_uid: appUid, namespace, app: name, revision, placement };
}

async function watchReady(process: UnitProcess, clock: Clock, onReady: () => void): Promise<void> {
  while (process.exit() === undefined) {
    if (process.ready()) return onReady();
    await clock.sleep(READY_POLL_MS);
  }
}

function observation({ plan, process, createdAt, retired }: Unit): UnitObservation {
  const exit = process.exit();
  const ready = process.ready();
  const { unit, revision, placement } = plan;
  const place = { unit, revision, placement, createdAt, scheduledAt: createdAt, startedAt: createdAt };
  const state = { ...place, retired, leaving: false, ready: ready ? 1 : 0 };
  if (exit === undefined) return { ...state, phase: ready ? 'Running' : 'Starting' };
  if (exit === UNIT_EXIT.left) return { ...state, phase: 'Succeeded' };
  const how = exit < 0 ? 'was killed by a signal' : `ended with exit code ${exit}`;
  return { ...state, phase: 'Failed', message: `${how}: ${process.lastWords() || 'it printed nothing'}` };
}
