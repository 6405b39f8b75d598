// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { until } from '../until.ts';
import { AppFixture, startCluster } from './operator.harness.ts';
import type { Cluster } from './operator.harness.ts';
import { freePort } from '../servers/free-port.ts';

const main = fileURLToPath(new URL('../../operator/main.ts', import.meta.url));

interface Program {
  readonly child: ChildProcess;
  readonly ops: string;
  /** What it wrote to standard error. */
  said(): string;
}

let cluster: Cluster;
let folder: string;
const running: ChildProcess[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'penstock-operator-'));
  cluster = await startCluster();
});
afterEach(async () => {
  await Promise.all(running.splice(0).map(kill));
});
afterAll(async () => {
  await cluster.close();
  rmSync(folder, { recursive: true, force: true });
});

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
}

function run(env: Record<string, string>, ...args: string[]): { child: ChildProcess; said: () => string } {
  const child = spawn(process.execPath, [main, ...args], {
    env: { PATH: process.env['PATH'] ?? '', ...env },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  running.push(child);
  let text = '';
  child.stderr?.on('data', (chunk: Buffer) => (text += chunk.toString()));
  return { child, said: () => text };
}

/** The program as its Deployment starts it: everything by environment. */
async function start(instance: string): Promise<Program> {
  const port = await freePort();
  const { child, said } = run({
    PENSTOCK_GATEWAY_URL: cluster.gateway.url,
    PENSTOCK_WORKER_IMAGE: 'example/worker:1',
    PENSTOCK_KUBECONFIG: cluster.api.kubeconfig,
    PENSTOCK_OPS_PORT: String(port),
    PENSTOCK_INSTANCE: instance,
  });
  const ops = `http://127.0.0.1:${port}`;
  await until(async () => (await fetch(`${ops}/readyz`)).status === 200, {
    what: `${instance} to be ready`,
    timeoutMs: 30_000,
  });
  return { child, ops, said };
}

async function leads({ ops }: Program): Promise<boolean> {
  const metrics = await (await fetch(`${ops}/metrics`)).text();
  return /^penstock_kube_leader\{[^}]*\} 1$/m.test(metrics);
}

describe('the operator as a program', () => {
  it('tells its health and metrics, and ends in order on SIGTERM', async () => {
    const operator = await start('first');
    await until(() => leads(operator), { what: 'it to lead' });
    expect((await fetch(`${operator.ops}/healthz`)).status).toBe(200);
    const metrics = await (await fetch(`${operator.ops}/metrics`)).text();
    for (const name of ['apps', 'units', 'unit_actions_total', 'gateway_up', 'wake_ups_total']) {
      expect(metrics).toContain(`penstock_operator_${name}`);
    }
    operator.child.kill('SIGTERM');
    await once(operator.child, 'exit');
    expect(operator.child.exitCode).toBe(0);
    const lines = operator
      .said()
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { component: string });
    expect(lines.every(({ component }) => component === 'operator')).toBe(true);
  });

  it('takes over within 30 s from a leader that was killed with -9', async () => {
    const a = await start('a');
    await until(() => leads(a), { what: 'a to lead', timeoutMs: 30_000 });
    const b = await start('b');
    const app = await AppFixture.make(cluster, 'handover', { scaling: { maxUnits: 2, requestsPerUnit: 1 } });
    app.demand({ queued: 1 });
    const [first] = await app.untilJobs(1);
    expect(await leads(b)).toBe(false);
    await kill(a.child);
    app.demand({ queued: 2 });
    const jobs = await app.untilJobs(2, 30_000);
    expect(await leads(b)).toBe(true);
    expect(jobs.map((job) => job.metadata.uid)).toContain(first?.metadata.uid);
  });
});

describe('settings that are wrong', () => {
  it.each([
    [
      'a missing gateway',
      { PENSTOCK_WORKER_IMAGE: 'x:1' },
      '',
      /gatewayUrl: is required; set it in the file or by PENSTOCK_GATEWAY_URL/,
    ],
    [
      'a gateway that is no URL',
      { PENSTOCK_GATEWAY_URL: 'gateway:80', PENSTOCK_WORKER_IMAGE: 'x:1' },
      '',
      /gatewayUrl: must match/,
    ],
    ['a port that is no number', { PENSTOCK_OPS_PORT: 'ninety' }, '', /opsPort: PENSTOCK_OPS_PORT must be a number/],
    [
      'an unknown setting in the file',
      {},
      'gatewayUri: http://x:1',
      /gatewayUri: unknown setting; known are namespace/,
    ],
  ])('end the program with code 2 and name the setting: %s', async (_what, env, file, message) => {
    const path = join(folder, 'config.yaml');
    writeFileSync(path, file);
    const { child, said } = run(env, ...(file === '' ? [] : ['--config', path]));
    await once(child, 'exit');
    expect(child.exitCode).toBe(2);
    expect(said()).toMatch(message);
  });
});
