// SPDX-License-Identifier: Apache-2.0
import { UNIT_ENV } from '#base/wire/unit-env.ts';
import type { UnitPlan } from '#operator/units/unit-driver.ts';

/** Where the runtime of a local unit finds what the driver made for it. */
export interface UnitFiles {
  readonly brokerUrl: string;
  readonly tokenFile: string;
  readonly readyFile: string;
  readonly logLevel: string;
}

/** On this machine a unit that is asked to stop gets this long to finish, whatever the app's timeout: a person waits at a terminal. */
const GRACE_SECONDS = 15;

/** Environment of a unit's process: this process's own without our settings, then the app's env, then the runtime's. */
export function unitEnv(plan: UnitPlan, files: UnitFiles, inherited: NodeJS.ProcessEnv): Record<string, string> {
  const { worker, scaling } = plan.app.spec;
  const overrides = plan.app.spec.placements?.find(({ name }) => name === plan.placement)?.overrides ?? {};
  const values: Record<string, string | number | boolean | undefined> = {
    [UNIT_ENV.brokerUrl]: files.brokerUrl,
    [UNIT_ENV.unitTokenFile]: files.tokenFile,
    [UNIT_ENV.readyFile]: files.readyFile,
    [UNIT_ENV.archetype]: worker.archetype,
    [UNIT_ENV.handler]: worker.handler,
    [UNIT_ENV.instances]: overrides.instances ?? worker.instances,
    [UNIT_ENV.batchSize]: worker.batchSize,
    [UNIT_ENV.concurrency]: scaling.concurrency,
    [UNIT_ENV.maxJobs]: scaling.maxJobs,
    [UNIT_ENV.graceSeconds]: GRACE_SECONDS,
    [UNIT_ENV.readyTimeoutSeconds]: worker.server?.readyTimeoutSeconds ?? scaling.startupGraceSeconds,
    [UNIT_ENV.serverPort]: worker.server?.port,
    [UNIT_ENV.serverPath]: worker.server?.path,
    [UNIT_ENV.serverMethod]: worker.server?.method,
    [UNIT_ENV.serverContentType]: worker.server?.contentType,
    [UNIT_ENV.serverHealthPath]: worker.server?.healthPath,
    [UNIT_ENV.command]: commandLine(plan, overrides.args),
    [UNIT_ENV.parentPipe]: true,
    [UNIT_ENV.logLevel]: files.logLevel,
  };
  const own = Object.entries(values).flatMap(([name, value]) => (value === undefined ? [] : [[name, String(value)]]));
  const app = [...(worker.env ?? []), ...(overrides.env ?? [])].map(({ name, value }) => [name, value ?? '']);
  const outer = Object.entries(inherited).filter(
    ([name, value]) => !name.startsWith('PENSTOCK_') && value !== undefined,
  );
  return Object.fromEntries([...outer, ...app, ...own]) as Record<string, string>;
}

function commandLine(plan: UnitPlan, args: readonly string[] | undefined): string | undefined {
  const { worker } = plan.app.spec;
  if (worker.archetype !== 'Sidecar' || worker.command === undefined) return undefined;
  return JSON.stringify([...worker.command, ...(args ?? worker.args ?? [])]);
}
