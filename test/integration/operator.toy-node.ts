// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LABELS, MANAGED_BY, UNIT_POD } from '#crds/names.ts';
import { systemClock } from '#base/clock.ts';
import { silentLogger } from '#base/logger.ts';
import { createRegistry } from '#base/metrics.ts';
import { systemRandom } from '#base/random.ts';
import { UNIT_ENV } from '#base/wire/unit-env.ts';
import { find } from '#kube/apply.ts';
import type { KubeClient } from '#kube/client.ts';
import { createInformer } from '#kube/informer.ts';
import { createKubeMetrics } from '#kube/kube-metrics.ts';
import { JOBS, SECRETS } from '#kube/resource.ts';
import type { KubeObject } from '#kube/types.ts';
import type { Job } from '#operator/units/objects.ts';
import { until } from '../until.ts';
import { setJob } from './operator.harness.ts';

const workerMain = fileURLToPath(new URL('../../worker-runtime/main.ts', import.meta.url));

/** Job controller, scheduler and kubelet in one: runs the worker container of each unit Job as a process on this machine. */
export interface ToyNode {
  /** Processes that run now, by unit. */
  readonly running: ReadonlyMap<string, ChildProcess>;
  /** Exit codes (or signals) by unit. */
  readonly ended: ReadonlyMap<string, string>;
  stop(): Promise<void>;
}

/** @param handler stands for what the image would hold */
export function startToyNode(client: KubeClient, handler: string): ToyNode {
  const folder = mkdtempSync(join(tmpdir(), 'penstock-toy-node-'));
  const running = new Map<string, ChildProcess>();
  const ended = new Map<string, string>();
  const started = new Set<string>();
  const registry = createRegistry('toy-node', false);
  const informer = createInformer<Job>(
    { client, clock: systemClock, random: systemRandom, logger: silentLogger, metrics: createKubeMetrics(registry) },
    { resource: JOBS, labelSelector: `${LABELS.managedBy}=${MANAGED_BY}` },
  );

  const run = async (job: Job): Promise<void> => {
    const { name } = job.metadata;
    // A pod whose Secret is not there yet waits in ContainerCreating.
    const secret = await until(
      () => find<KubeObject & { data?: Record<string, string> }>(client, SECRETS, job.metadata),
      {
        what: `the Secret of ${name}`,
      },
    );
    const tokenFile = join(folder, `${name}.token`);
    writeFileSync(tokenFile, Buffer.from(secret.data?.['token'] ?? '', 'base64'));
    const child = spawn(process.execPath, [workerMain], {
      env: { PATH: process.env['PATH'], ...envOf(job), ...localEnv(folder, name, tokenFile, handler) },
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    running.set(name, child);
    await setJob(client, job, 'ready').catch(() => {});
    const [code, signal] = (await once(child, 'exit')) as [number | null, string | null];
    running.delete(name);
    ended.set(name, String(code ?? signal));
    await setJob(client, job, code === 0 ? 'Complete' : 'Failed').catch(() => {});
  };
  const off = informer.cache.onChange((event) => {
    const { name } = 'object' in event ? event.object.metadata : event.previous.metadata;
    // Background deletion of a Job ends its pod.
    if (event.type === 'delete') running.get(name)?.kill('SIGTERM');
    if (event.type !== 'add' || started.has(name)) return;
    started.add(name);
    run(event.object).catch(() => {});
  });
  informer.start();
  return {
    running,
    ended,
    stop: async () => {
      off();
      await informer.stop();
      const ends = [...running.values()].map((child) => once(child, 'exit'));
      for (const child of running.values()) child.kill('SIGKILL');
      await Promise.all(ends);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function envOf(job: Job): Record<string, string> {
  const container = job.spec.template.spec.containers.find(({ name }) => name === UNIT_POD.worker);
  // The kubelet's expansion: `$$` is a dollar sign.
  return Object.fromEntries((container?.env ?? []).map(({ name, value = '' }) => [name, value.replaceAll('$$', '$')]));
}

/** What is different on this machine: paths that a pod has to itself, and a port of which there is only one. */
function localEnv(folder: string, unit: string, tokenFile: string, handler: string): Record<string, string> {
  return {
    [UNIT_ENV.unitTokenFile]: tokenFile,
    [UNIT_ENV.readyFile]: join(folder, `${unit}.ready`),
    [UNIT_ENV.handler]: handler,
    [UNIT_ENV.opsHost]: '127.0.0.1',
    [UNIT_ENV.opsPort]: '0',
    [UNIT_ENV.logLevel]: 'error',
  };
}
