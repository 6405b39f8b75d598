// SPDX-License-Identifier: Apache-2.0
import type { InferenceAppOverrides } from '#crds/inference-app.gen.ts';
import { UNIT_ENV } from '#base/wire/unit-env.ts';
import type { UnitPlan } from './unit-driver.ts';

type Setting = string | number | boolean | undefined;

/** What a driver decides about the runtime of a unit; the rest is in the plan. */
export interface RuntimePlace {
  /** Origin of the broker as the unit reaches it. */
  readonly brokerUrl: string;
  readonly tokenFile: string;
  readonly readyFile: string;
  /** Time for what runs when the unit is asked to stop. */
  readonly graceSeconds: number;
  /** Settings that only this driver makes, by the names of UNIT_ENV. */
  readonly more: Readonly<Partial<Record<keyof typeof UNIT_ENV, Setting>>>;
}

/** The runtime's environment for a unit, by variable; the same for a Job's container and for a process on this machine. */
export function runtimeSettings(plan: UnitPlan, place: RuntimePlace): Readonly<Record<string, string>> {
  const { worker, scaling } = plan.app.spec;
  const settings: RuntimePlace['more'] = {
    brokerUrl: place.brokerUrl,
    unitTokenFile: place.tokenFile,
    archetype: worker.archetype,
    concurrency: scaling.concurrency,
    maxJobs: scaling.maxJobs,
    graceSeconds: place.graceSeconds,
    readyTimeoutSeconds: worker.server?.readyTimeoutSeconds ?? scaling.startupGraceSeconds,
    readyFile: place.readyFile,
    ...place.more,
    ...(worker.archetype === 'Handler' ? handlerSettings(plan) : serverSettings(plan)),
  };
  const named = Object.entries(settings) as [keyof typeof UNIT_ENV, Setting][];
  return Object.fromEntries(
    named.flatMap(([name, value]) => (value === undefined ? [] : [[UNIT_ENV[name], String(value)]])),
  );
}

/** What the placement that was chosen changes about the app. */
export function overridesOf(plan: UnitPlan): InferenceAppOverrides {
  return plan.app.spec.placements?.find(({ name }) => name === plan.placement)?.overrides ?? {};
}

function handlerSettings(plan: UnitPlan): RuntimePlace['more'] {
  const { worker } = plan.app.spec;
  return {
    handler: worker.handler,
    instances: overridesOf(plan).instances ?? worker.instances,
    batchSize: worker.batchSize,
  };
}

function serverSettings({ app }: UnitPlan): RuntimePlace['more'] {
  const { server } = app.spec.worker;
  return {
    serverPort: server?.port,
    serverPath: server?.path,
    serverMethod: server?.method,
    serverContentType: server?.contentType,
    serverHealthPath: server?.healthPath,
  };
}
