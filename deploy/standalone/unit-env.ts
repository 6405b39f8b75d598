// SPDX-License-Identifier: Apache-2.0
import { overridesOf, runtimeSettings } from '#operator/units/runtime-settings.ts';
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
  const { worker } = plan.app.spec;
  const overrides = overridesOf(plan);
  const own = runtimeSettings(plan, {
    ...files,
    graceSeconds: GRACE_SECONDS,
    more: { command: commandLine(plan, overrides.args), parentPipe: true, logLevel: files.logLevel },
  });
  const app = [...(worker.env ?? []), ...(overrides.env ?? [])].map(({ name, value }) => [name, value ?? '']);
  const outer = Object.entries(inherited).filter(
    ([name, value]) => !name.startsWith('PENSTOCK_') && value !== undefined,
  );
  return Object.fromEntries([...outer, ...app, ...Object.entries(own)]) as Record<string, string>;
}

function commandLine(plan: UnitPlan, args: readonly string[] | undefined): string | undefined {
  const { worker } = plan.app.spec;
  if (worker.archetype !== 'Sidecar' || worker.command === undefined) return undefined;
  return JSON.stringify([...worker.command, ...(args ?? worker.args ?? [])]);
}
