// SPDX-License-Identifier: Apache-2.0
import { dirname } from 'node:path/posix';
import type { InferenceAppEnv } from '#crds/inference-app.gen.ts';
import { UNIT_POD } from '#crds/names.ts';
import { UNIT_OPS_PORT, UNIT_READY_FILE, UNIT_TOKEN_FILE } from '#base/wire/unit-env.ts';
import { LOCKED_DOWN } from '#kube/pod-template.ts';
import { graceSeconds } from './job-settings.ts';
import type { JobSettings } from './job-settings.ts';
import type { Container, EnvVar, HttpProbe } from './objects.ts';
import { overridesOf, runtimeSettings } from './runtime-settings.ts';
import { gpuResource } from './slice.ts';
import type { UnitPlan } from './unit-driver.ts';

/** Of the pod's grace, what stays for giving unfinished requests back and ending. */
const RELEASE_SECONDS = 15;
/** The adapter only moves bytes; what it buffers is bounded by the app's own maxBytes and concurrency. */
const ADAPTER_REQUESTS = { cpu: '50m', memory: '128Mi' };

/** Our own runtime writes to /tmp only. An unmodified model server may write where it likes: its layer dies with the unit. */
const READ_ONLY = { ...LOCKED_DOWN, readOnlyRootFilesystem: true };

/** The handler in its own image, whose entry point is the worker runtime. */
export function handlerContainer(plan: UnitPlan, settings: JobSettings): Container {
  const image = overridesOf(plan).image ?? plan.app.spec.worker.image ?? '';
  const runtime = runtimeContainer(plan, settings, image);
  return {
    ...runtime,
    env: [...appEnv(plan), ...runtime.env],
    ...envFrom(plan),
    resources: appResources(plan),
  };
}

/** Feeds the model server; the main container, so that the pod ends when it does. */
export function adapterContainer(plan: UnitPlan, settings: JobSettings): Container {
  return {
    ...runtimeContainer(plan, settings, settings.workerImage),
    resources: { requests: ADAPTER_REQUESTS },
  };
}

/** The unmodified model server as a native sidecar: the adapter starts once its startup probe has passed. */
export function serverContainer(plan: UnitPlan, settings: JobSettings): Container {
  const { worker } = plan.app.spec;
  const overrides = overridesOf(plan);
  const args = overrides.args ?? worker.args;
  const { port = 0, healthPath = '/', readyTimeoutSeconds = 1 } = worker.server ?? {};
  return {
    name: UNIT_POD.server,
    image: overrides.image ?? worker.image ?? '',
    imagePullPolicy: settings.imagePullPolicy,
    restartPolicy: 'Always',
    ...(worker.command === undefined ? {} : { command: worker.command.map(literal) }),
    ...(args === undefined ? {} : { args: args.map(literal) }),
    env: appEnv(plan),
    ...envFrom(plan),
    resources: appResources(plan),
    // One look per second: a model that is ready must not wait for its first request. The threshold is the whole budget.
    startupProbe: probe(healthPath, port, 1, readyTimeoutSeconds),
    securityContext: LOCKED_DOWN,
    volumeMounts: [{ name: UNIT_POD.serverTmpVolume, mountPath: '/tmp' }],
  };
}

function runtimeContainer(
  plan: UnitPlan,
  settings: JobSettings,
  image: string,
): Container & { readonly env: readonly EnvVar[] } {
  return {
    name: UNIT_POD.worker,
    image,
    imagePullPolicy: settings.imagePullPolicy,
    env: runtimeEnv(plan, settings),
    ports: [{ name: UNIT_POD.opsPortName, containerPort: UNIT_OPS_PORT }],
    // Ready = it may lease. There is no liveness probe: nothing but the queue's lease ends a worker that hangs.
    readinessProbe: probe('/readyz', UNIT_OPS_PORT, 2, 1),
    securityContext: READ_ONLY,
    volumeMounts: [
      { name: UNIT_POD.tokenVolume, mountPath: dirname(UNIT_TOKEN_FILE), readOnly: true },
      { name: UNIT_POD.tmpVolume, mountPath: '/tmp' },
    ],
  };
}

function runtimeEnv(plan: UnitPlan, settings: JobSettings): EnvVar[] {
  const own = runtimeSettings(plan, {
    brokerUrl: settings.brokerUrl,
    tokenFile: UNIT_TOKEN_FILE,
    readyFile: UNIT_READY_FILE,
    graceSeconds: Math.max(1, graceSeconds(plan.app.spec.request.timeoutSeconds) - RELEASE_SECONDS),
    more: { opsHost: '0.0.0.0', opsPort: UNIT_OPS_PORT },
  });
  return Object.entries(own).map(([name, value]) => ({ name, value: literal(value) }));
}

/** env of the app, entries of the placement's overrides in place of those of the same name. */
function appEnv(plan: UnitPlan): EnvVar[] {
  const { worker } = plan.app.spec;
  const byName = new Map<string, InferenceAppEnv>();
  for (const entry of [...(worker.env ?? []), ...(overridesOf(plan).env ?? [])]) byName.set(entry.name, entry);
  return [...byName.values()].map(({ name, value, valueFrom }) => {
    if (valueFrom !== undefined) return { name, valueFrom };
    return value === undefined || value === '' ? { name } : { name, value: literal(value) };
  });
}

function envFrom(plan: UnitPlan): Pick<Container, 'envFrom'> {
  const sources = plan.app.spec.worker.envFrom;
  return sources === undefined ? {} : { envFrom: sources };
}

/** Request and limit alike: a unit gets what it asks for, and nothing more on a good day that it lacks on a bad one. */
function appResources(plan: UnitPlan): NonNullable<Container['resources']> {
  const { gpu, cpu, memory } = plan.app.spec.resources ?? {};
  const limits: Record<string, number | string> = {};
  if (cpu !== undefined) limits['cpu'] = cpu;
  if (memory !== undefined) limits['memory'] = memory;
  const requests = { ...limits };
  // Extended resources need only the limit; the API server copies it.
  if (gpu !== undefined) limits[gpuResource(gpu)] = gpu.count;
  return {
    ...(Object.keys(requests).length > 0 ? { requests } : {}),
    ...(Object.keys(limits).length > 0 ? { limits } : {}),
  };
}

function probe(path: string, port: number, periodSeconds: number, failureThreshold: number): HttpProbe {
  return { httpGet: { path, port }, periodSeconds, timeoutSeconds: 5, failureThreshold };
}

/** The kubelet expands $(NAME) in values, commands and arguments; `$$` is its escape for a dollar sign that means itself. */
function literal(text: string): string {
  return text.replaceAll('$', '$$$$');
}
