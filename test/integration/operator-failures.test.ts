// SPDX-License-Identifier: Apache-2.0
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { OBJECTS } from '#crds/names.ts';
import { find } from '#kube/apply.ts';
import { CONFIG_MAPS, JOBS, LEASES, SECRETS } from '#kube/resource.ts';
import type { KubeObject } from '#kube/types.ts';
import { until } from '../until.ts';
import { AppFixture, setJob, startCluster } from './operator.harness.ts';
import type { Cluster, RunningOperator } from './operator.harness.ts';

let cluster: Cluster;
const running: RunningOperator[] = [];

beforeAll(async () => {
  cluster = await startCluster();
});
afterEach(async () => {
  await Promise.all(running.splice(0).map((operator) => operator.stop()));
});
afterAll(() => cluster.close());

async function start(): Promise<RunningOperator> {
  const operator = await cluster.startOperator();
  running.push(operator);
  return operator;
}

async function stop(operator: RunningOperator): Promise<void> {
  running.splice(running.indexOf(operator), 1);
  await operator.stop();
}

async function reconciles(operator: RunningOperator): Promise<number> {
  const found = await operator.registry.getSingleMetric('penstock_kube_reconcile_total')?.get();
  return (found?.values ?? []).reduce((sum, { value }) => sum + value, 0);
}

describe('a gateway that is down', () => {
  it('makes the operator keep its hands off: no start, no removal, and a status that says so', async () => {
    const operator = await start();
    const app = await AppFixture.make(cluster, 'blind', { scaling: { minUnits: 1, maxUnits: 3, requestsPerUnit: 1 } });
    const [job] = await app.untilJobs(1);
    await cluster.gateway.down();
    const held = await app.untilStatus('held', ({ phase }) => phase === 'Held', 30_000);
    expect(held.conditions?.find(({ type }) => type === 'GatewayReachable')).toMatchObject({
      status: 'False',
      reason: 'GatewayUnreachable',
    });
    app.demand({ queued: 9 });
    const before = await reconciles(operator);
    await setJob(cluster.client, job!, 'Complete');
    await until(async () => (await reconciles(operator)) > before, { what: 'a reconcile' });
    expect(await app.jobs()).toHaveLength(1);
    await cluster.gateway.up();
    await until(async () => (await find(cluster.client, JOBS, job!.metadata)) === undefined, { what: 'the Job to go' });
    await app.untilJobs(3);
    await app.untilStatus('scaling', ({ phase }) => phase === 'Scaling');
  });

  it('keeps a deleted app until it answers again', async () => {
    await start();
    const app = await AppFixture.make(cluster, 'waits', { scaling: { minUnits: 1 } });
    await app.untilJobs(1);
    await cluster.gateway.down();
    await app.delete();
    await app.untilStatus('waiting', ({ reason }) => reason?.includes('waits for the gateway') ?? false);
    expect(await app.jobs()).toHaveLength(1);
    await cluster.gateway.up();
    await until(async () => (await app.get()) === undefined, { what: 'the app to go', timeoutMs: 40_000 });
  });
});

describe('a restart of the operator', () => {
  it('changes nothing about units that run', async () => {
    const app = await AppFixture.make(cluster, 'steady', { scaling: { minUnits: 2, maxUnits: 2 } });
    const first = await start();
    const jobs = await app.untilJobs(2);
    for (const job of jobs) await setJob(cluster.client, job, 'ready');
    app.seen(jobs.map((job) => job.metadata.name));
    await app.untilStatus('two ready', ({ units }) => units?.ready === 2);
    await stop(first);
    const before = await app.get();
    const second = await start();
    await until(async () => (await reconciles(second)) > 0, { what: 'a reconcile by the second' });
    expect((await app.jobs()).map((job) => job.metadata.uid)).toEqual(jobs.map((job) => job.metadata.uid));
    const after = await app.get();
    expect(after?.status).toEqual(before?.status);
    expect(after?.metadata.resourceVersion).toBe(before?.metadata.resourceVersion);
  });

  it('gives a unit its Secret that a crash between Job and Secret has left without one', async () => {
    const app = await AppFixture.make(cluster, 'orphan');
    app.demand({ queued: 1 });
    const first = await start();
    const [job] = await app.untilJobs(1);
    await until(() => find(cluster.client, SECRETS, job!.metadata), { what: 'the Secret' });
    await stop(first);
    await cluster.client.delete(SECRETS, job!.metadata);
    await start();
    const again = await until(() => find(cluster.client, SECRETS, job!.metadata), { what: 'the Secret again' });
    expect(again.metadata.ownerReferences?.[0]?.name).toBe(job!.metadata.name);
    expect(await app.jobs()).toHaveLength(1);
  });

  it('goes on with a retirement where it was left', async () => {
    const app = await AppFixture.make(cluster, 'midway');
    app.demand({ queued: 1 });
    const first = await start();
    const [job] = await app.untilJobs(1);
    await stop(first);
    // The gateway has retired the unit, and the operator died before it could write that down.
    cluster.gateway.retired.add(job!.metadata.name);
    app.demand({
      queued: 0,
      units: [{ unit: job!.metadata.name, revision: '', leases: 0, last_seen_at: Date.now() - 140_000, retired: true }],
    });
    await start();
    await app.untilJobs(0);
    expect(await find(cluster.client, JOBS, job!.metadata)).toBeUndefined();
  });

  it('keeps its keys, so that units go on', async () => {
    const ref = { namespace: OBJECTS.systemNamespace, name: 'penstock-issuer' };
    const first = await start();
    const before = await until(() => find<KubeObject & { data?: object }>(cluster.client, CONFIG_MAPS, ref), {
      what: 'the published keys',
    });
    await stop(first);
    const second = await start();
    await until(() => second.isLeader(), { what: 'the second to lead' });
    const after = await find<KubeObject & { data?: object }>(cluster.client, CONFIG_MAPS, ref);
    expect(after?.data).toEqual(before.data);
  });
});

describe('two replicas', () => {
  it('act one at a time, and the second takes over what the first has left', async () => {
    const [a, b] = await Promise.all([start(), start()]);
    await until(() => a.isLeader() || b.isLeader(), { what: 'a leader' });
    expect(a.isLeader() && b.isLeader()).toBe(false);
    const [leader, other] = a.isLeader() ? [a, b] : [b, a];
    const app = await AppFixture.make(cluster, 'handover', { scaling: { maxUnits: 2, requestsPerUnit: 1 } });
    app.demand({ queued: 1 });
    await app.untilJobs(1);
    expect(other.notReady()).toBeUndefined();
    await stop(leader);
    await until(() => other.isLeader(), { what: 'the other to lead' });
    app.demand({ queued: 2 });
    await app.untilJobs(2);
  });

  it('take over from one that just vanished', async () => {
    // Somebody who took the Lease and was killed: its term has to run out first.
    const name = OBJECTS.operatorLease;
    const lease = await find<KubeObject>(cluster.client, LEASES, { namespace: OBJECTS.systemNamespace, name });
    const spec = {
      holderIdentity: 'killed',
      leaseDurationSeconds: 2,
      renewTime: new Date().toISOString().replace('Z', '000Z'),
    };
    await cluster.client.patch(LEASES, lease!.metadata, { spec }, { type: 'merge' });
    const operator = await start();
    expect(operator.isLeader()).toBe(false);
    await until(() => operator.isLeader(), { what: 'the take-over', timeoutMs: 30_000 });
    expect(operator.isLeader()).toBe(true);
  });
});
