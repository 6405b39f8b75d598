// SPDX-License-Identifier: Apache-2.0
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { decodeJwt } from 'jose';
import type { InferenceAppStatus } from '#crds/inference-app.gen.ts';
import { ANNOTATIONS, FINALIZERS, LABELS } from '#crds/names.ts';
import { find } from '#kube/apply.ts';
import { INFERENCE_APPS, JOBS, PLACEMENTS, SECRETS } from '#kube/resource.ts';
import type { KubeObject } from '#kube/types.ts';
import { until } from '../until.ts';
import { AppFixture, eventReasons, setJob, startCluster } from './operator.harness.ts';
import type { Cluster, RunningOperator } from './operator.harness.ts';

interface ManagedFields {
  readonly manager: string;
  readonly subresource?: string;
  readonly fieldsV1: object;
}

/** Held, and for this reason: an app may be held for another one first (the gateway does not know it yet). */
const holds =
  (why: RegExp) =>
  ({ phase, reason }: InferenceAppStatus): boolean =>
    phase === 'Held' && why.test(reason ?? '');

let cluster: Cluster;
let operator: RunningOperator;

beforeAll(async () => {
  cluster = await startCluster();
  operator = await cluster.startOperator();
  await until(() => operator.isLeader(), { what: 'the operator to lead' });
});
afterAll(async () => {
  await operator.stop();
  await cluster.close();
});

describe('scaling', () => {
  it('starts a unit from zero when the gateway reports the first request', async () => {
    const app = await AppFixture.make(cluster, 'wake');
    await app.untilStatus('idle', (status) => status.phase === 'Ready');
    await until(() => cluster.gateway.streams.size > 0, { what: 'the wake-up stream' });
    app.demand({ queued: 1 });
    await app.untilJobs(1);
    const status = await app.untilStatus('one starting', ({ units }) => units?.starting === 1);
    expect(status).toMatchObject({ phase: 'Scaling', replicas: 1, queue: { queued: 1, leased: 0 } });
    expect(status.activePlacement).toBe(app.placement);
  });

  it('gives each unit a token of its own in a Secret that its Job owns', async () => {
    const app = await AppFixture.make(cluster, 'token');
    app.demand({ queued: 1 });
    const [job] = await app.untilJobs(1);
    const secret = await until(
      () => find<KubeObject & { data?: Record<string, string> }>(cluster.client, SECRETS, job!.metadata),
      { what: 'the Secret' },
    );
    const claims = decodeJwt(Buffer.from(secret.data?.['token'] ?? '', 'base64').toString());
    expect(claims).toMatchObject({
      iss: 'penstock-operator',
      aud: 'penstock-unit',
      sub: job!.metadata.name,
      app_uid: app.uid,
      namespace: app.namespace,
      app: 'token',
      placement: app.placement,
      revision: job!.metadata.labels?.[LABELS.revision],
    });
    expect(secret.metadata.ownerReferences?.[0]?.uid).toBe(job!.metadata.uid);
    expect(job!.metadata.ownerReferences).toBeUndefined();
  });

  it('fills the floor without any request', async () => {
    const app = await AppFixture.make(cluster, 'floor', { scaling: { minUnits: 2, maxUnits: 3 } });
    await app.untilJobs(2);
    const { units } = await app.untilStatus('two starting', ({ units }) => units?.starting === 2);
    expect(units).toEqual({ starting: 2, ready: 0, leaving: 0, failed: 0 });
  });

  it('stays below the cap and within maxScaleUpPerCycle', async () => {
    const app = await AppFixture.make(cluster, 'cap', {
      scaling: { maxUnits: 5, requestsPerUnit: 1, maxScaleUpPerCycle: 2 },
    });
    app.demand({ queued: 100 });
    await app.untilJobs(5);
    const jobs = await app.jobs();
    // Two a second at most, so five take more than one second.
    expect(new Set(jobs.map((job) => job.metadata.creationTimestamp)).size).toBeGreaterThan(1);
    app.demand({ queued: 90 });
    await app.untilStatus('five', ({ replicas }) => replicas === 5);
    expect(await app.jobs()).toHaveLength(5);
  });

  it('counts units as ready once the gateway knows them, and says so in Events', async () => {
    const app = await AppFixture.make(cluster, 'ready');
    app.demand({ queued: 1 });
    const [job] = await app.untilJobs(1);
    await setJob(cluster.client, job!, 'ready');
    app.seen([job!.metadata.name]);
    const status = await app.untilStatus('one ready', ({ units }) => units?.ready === 1);
    expect(status.conditions?.find(({ type }) => type === 'Ready')?.status).toBe('True');
    await until(async () => (await eventReasons(cluster.client, app.namespace)).includes('UnitReady'), {
      what: 'the Event',
    });
    expect(await eventReasons(cluster.client, app.namespace)).toContain('UnitCreated');
  });

  it('starts units of a new revision and leaves the old one alone', async () => {
    const app = await AppFixture.make(cluster, 'revision', { scaling: { maxUnits: 2 } });
    app.demand({ queued: 1 });
    const [old] = await app.untilJobs(1);
    await setJob(cluster.client, old!, 'ready');
    await app.patch({ worker: { image: 'example/app:2' } });
    const before = old!.metadata.labels?.[LABELS.revision] ?? '';
    app.demand({
      queued: 1,
      units: [{ unit: old!.metadata.name, revision: before, leases: 1, last_seen_at: Date.now(), retired: false }],
    });
    const jobs = await app.untilJobs(2);
    const fresh = jobs.find((job) => job.metadata.name !== old!.metadata.name);
    expect(fresh?.metadata.labels?.[LABELS.revision]).not.toBe(before);
    expect(fresh?.spec.template.spec.containers[0]?.image).toBe('example/app:2');
    const kept = jobs.find((job) => job.metadata.name === old!.metadata.name);
    expect(kept?.metadata.deletionTimestamp).toBeUndefined();
    expect(cluster.gateway.retired.has(old!.metadata.name)).toBe(false);
  });
});

describe('leaving', () => {
  it('reaps the Job and the Secret of a unit that has finished', async () => {
    const app = await AppFixture.make(cluster, 'reap');
    app.demand({ queued: 1 });
    const [job] = await app.untilJobs(1);
    // In this order: a unit that nobody needs before it has run is retired, and this one is not to be.
    await setJob(cluster.client, job!, 'Complete');
    app.demand({ queued: 0 });
    await app.untilJobs(0);
    await until(async () => (await find(cluster.client, SECRETS, job!.metadata)) === undefined, { what: 'no Secret' });
    expect(cluster.gateway.retired.has(job!.metadata.name)).toBe(false);
  });

  it('retires a unit that nobody needs before it has a node, then removes it', async () => {
    const app = await AppFixture.make(cluster, 'surplus');
    app.demand({ queued: 1 });
    const [job] = await app.untilJobs(1);
    app.demand({ queued: 0 });
    await app.untilJobs(0);
    expect(cluster.gateway.retired.has(job!.metadata.name)).toBe(true);
  });

  it('does not remove a retired unit while its pod is ready', async () => {
    const app = await AppFixture.make(cluster, 'still-ready');
    app.demand({ queued: 1 });
    const [job] = await app.untilJobs(1);
    await setJob(cluster.client, job!, 'ready');
    app.seen([job!.metadata.name]);
    await app.untilStatus('one ready', ({ units }) => units?.ready === 1);
    const annotations = { [ANNOTATIONS.retired]: new Date().toISOString() };
    await cluster.client.patch(JOBS, job!.metadata, { metadata: { annotations } }, { type: 'merge' });
    await app.untilStatus('one leaving', ({ units }) => units?.leaving === 1);
    expect(await app.jobs()).toHaveLength(1);
    await setJob(cluster.client, job!, 'starting');
    await app.untilJobs(1);
    await until(async () => (await find(cluster.client, JOBS, job!.metadata)) === undefined, {
      what: 'the old Job to go',
    });
  });

  it('pauses: starts nothing, and touches no unit that runs', async () => {
    const app = await AppFixture.make(cluster, 'paused', { scaling: { maxUnits: 4, requestsPerUnit: 1 } });
    app.demand({ queued: 1 });
    const [job] = await app.untilJobs(1);
    await setJob(cluster.client, job!, 'ready');
    app.seen([job!.metadata.name], { leases: 1 });
    await app.untilStatus('one ready', ({ units }) => units?.ready === 1);
    await app.patch({ desiredState: 'Paused' });
    await app.untilStatus('paused', ({ phase }) => phase === 'Paused');
    for (const queued of [50, 60, 70]) {
      const asked = cluster.gateway.asked();
      app.demand({ queued, leased: 1 });
      await until(() => cluster.gateway.asked() > asked, { what: 'a look at the demand' });
    }
    expect(await app.jobs()).toHaveLength(1);
    expect(cluster.gateway.retired.has(job!.metadata.name)).toBe(false);
  });

  it('drains: starts units while something is queued, whatever the floor', async () => {
    const app = await AppFixture.make(cluster, 'draining', { desiredState: 'Draining', scaling: { minUnits: 1 } });
    await app.untilStatus('draining', ({ phase }) => phase === 'Draining');
    expect(await app.jobs()).toHaveLength(0);
    app.demand({ queued: 1 });
    await app.untilJobs(1);
  });

  it('backs off when units keep failing, and says why', async () => {
    const app = await AppFixture.make(cluster, 'crash');
    app.demand({ queued: 1 });
    const [first] = await app.untilJobs(1);
    await setJob(cluster.client, first!, 'Failed');
    const second = await until(
      async () => (await app.jobs()).find((job) => job.metadata.name !== first!.metadata.name),
      { what: 'the second try' },
    );
    await setJob(cluster.client, second, 'Failed');
    const status = await app.untilStatus('held for it', holds(/2 starts in a row failed/));
    expect(status.conditions?.find(({ type }) => type === 'UnitsHealthy')).toMatchObject({
      status: 'False',
      reason: 'UnitFailed',
    });
  });
});

describe('trouble', () => {
  it('holds an app whose placement does not exist, and starts it when the placement comes', async () => {
    const app = await AppFixture.make(cluster, 'placeless', { placements: [{ name: 'not-there' }] });
    app.demand({ queued: 1 });
    await app.untilStatus('held for it', holds(/placement not-there does not exist/));
    await app.patch({ placements: [{ name: app.placement }, { name: 'further' }] });
    await app.makePlacement();
    await app.untilJobs(1);
    const status = await app.untilStatus('scaling', ({ phase }) => phase === 'Scaling');
    expect(status.unsupportedFields).toEqual(['spec.placements[1]']);
  });

  it('says of each placement whether it takes units', async () => {
    const app = await AppFixture.make(cluster, 'states');
    const open = await until(
      () =>
        find<KubeObject & { status?: { state?: string } }>(cluster.client, PLACEMENTS, { name: app.placement }).then(
          (p) => p?.status?.state,
        ),
      { what: 'a state' },
    );
    expect(open).toBe('Open');
    await cluster.client.patch(
      PLACEMENTS,
      { name: app.placement },
      { spec: { allowedNamespaces: [] } },
      { type: 'merge' },
    );
    await until(
      async () => {
        const placement = await find<KubeObject & { status?: { state?: string } }>(cluster.client, PLACEMENTS, {
          name: app.placement,
        });
        return placement?.status?.state === 'Misconfigured';
      },
      { what: 'Misconfigured' },
    );
    await app.untilStatus('held for it', holds(/does not allow namespace/));
  });

  it('holds an app without an image', async () => {
    const app = await AppFixture.make(cluster, 'imageless', { worker: { image: null as unknown as string } });
    const isRequired = ({ type, reason }: { type: string; reason: string }): boolean =>
      type === 'Ready' && reason === 'ImageRequired';
    const status = await app.untilStatus('held for it', ({ conditions }) => conditions?.some(isRequired) ?? false);
    expect(status.phase).toBe('Held');
  });

  it('does not let an app whose Jobs are refused stop another one', async () => {
    const broken = await AppFixture.make(cluster, 'broken');
    const quota = {
      metadata: { namespace: broken.namespace, name: 'none' },
      spec: { hard: { 'count/jobs.batch': '0' } },
    };
    const quotas = { group: '', version: 'v1', kind: 'ResourceQuota', plural: 'resourcequotas', namespaced: true };
    await cluster.client.create(quotas, quota);
    await cluster.client.patch(
      quotas,
      quota.metadata,
      { status: { hard: { 'count/jobs.batch': '0' }, used: { 'count/jobs.batch': '0' } } },
      { type: 'merge', subresource: 'status' },
    );
    broken.demand({ queued: 1 });
    const other = await AppFixture.make(cluster, 'other');
    other.demand({ queued: 1 });
    await other.untilJobs(1);
    await broken.untilStatus('held for it', holds(/a unit can't be made: .*exceeded quota/));
    expect(await broken.jobs()).toHaveLength(0);
  });

  it('writes nothing at rest', async () => {
    const app = await AppFixture.make(cluster, 'rest', { scaling: { minUnits: 1 } });
    const [job] = await app.untilJobs(1);
    await setJob(cluster.client, job!, 'ready');
    app.seen([job!.metadata.name]);
    await app.untilStatus('one ready', ({ units, phase }) => units?.ready === 1 && phase === 'Ready');
    const before = await app.get();
    // Something to look at it for, again and again: the unit calls the gateway, its Job is touched.
    for (const round of [1, 2, 3]) {
      app.seen([job!.metadata.name]);
      const annotations = { 'example.dev/round': String(round) };
      await cluster.client.patch(JOBS, job!.metadata, { metadata: { annotations } }, { type: 'merge' });
      const reconciles = await count('penstock_kube_reconcile_total');
      await until(async () => (await count('penstock_kube_reconcile_total')) > reconciles, { what: 'a reconcile' });
    }
    expect((await app.get())?.metadata.resourceVersion).toBe(before?.metadata.resourceVersion);
  });
});

async function count(metric: string): Promise<number> {
  const found = await operator.registry.getSingleMetric(metric)?.get();
  return (found?.values ?? []).reduce((sum, { value }) => sum + value, 0);
}

describe('deleting an app', () => {
  it('retires and reaps its units, waits for the purge, then lets it go', async () => {
    const app = await AppFixture.make(cluster, 'gone', { scaling: { minUnits: 2, maxUnits: 2 } });
    const jobs = await app.untilJobs(2);
    expect((await app.get())?.metadata.finalizers).toEqual([FINALIZERS.units]);
    cluster.gateway.purging.add(app.uid);
    await app.delete();
    await app.untilJobs(0);
    expect(jobs.every((job) => cluster.gateway.retired.has(job.metadata.name))).toBe(true);
    await app.untilStatus('the purge', ({ reason }) => reason?.includes('the gateway removes what is left') ?? false);
    cluster.gateway.purging.delete(app.uid);
    await until(async () => (await app.get()) === undefined, { what: 'the app to go' });
    for (const job of jobs) expect(await find(cluster.client, SECRETS, job.metadata)).toBeUndefined();
  });

  it('never removes a unit that holds a lease', async () => {
    const app = await AppFixture.make(cluster, 'busy');
    app.demand({ queued: 1 });
    const [job] = await app.untilJobs(1);
    await setJob(cluster.client, job!, 'ready');
    cluster.gateway.busy.add(job!.metadata.name);
    await app.delete();
    await app.untilStatus('leaving', ({ reason }) => reason?.includes('finish what they hold') ?? false);
    const purges = cluster.gateway.purges.filter((uid) => uid === app.uid).length;
    await until(() => cluster.gateway.purges.filter((uid) => uid === app.uid).length > purges, {
      what: 'another look',
    });
    expect((await app.jobs())[0]?.metadata.annotations?.[ANNOTATIONS.retired]).toBeUndefined();
    cluster.gateway.busy.delete(job!.metadata.name);
    await setJob(cluster.client, job!, 'Complete');
    await until(async () => (await app.get()) === undefined, { what: 'the app to go' });
  });

  // Admission lets every change of an app pass that is being deleted, so nothing of its spec has been checked.
  it('starts nothing more of it, whoever holds it and whatever its spec says by then', async () => {
    const app = await AppFixture.make(cluster, 'held');
    await until(async () => (await app.get())?.metadata.finalizers?.includes(FINALIZERS.units), {
      what: 'our finalizer',
    });
    const change = (patch: object): Promise<unknown> =>
      cluster.client.patch(INFERENCE_APPS, app, patch, { type: 'merge' });
    const isLookedAt = async (minUnits: number): Promise<void> => {
      await change({ spec: { scaling: { minUnits, maxUnits: 4 } } });
      // A later change of another app has had its effect by then.
      await (await AppFixture.make(cluster, `later-${minUnits}`, { scaling: { minUnits: 1 } })).untilJobs(1);
      expect(await app.jobs()).toEqual([]);
    };
    await change({ metadata: { finalizers: [FINALIZERS.units, 'example.com/hold'] } });
    cluster.gateway.purging.add(app.uid);
    await app.delete();
    app.demand({ queued: 1 });
    await isLookedAt(1);
    cluster.gateway.purging.delete(app.uid);
    await until(async () => !(await app.get())?.metadata.finalizers?.includes(FINALIZERS.units), {
      what: 'ours to go',
    });
    await isLookedAt(2);
    await change({ metadata: { finalizers: [] } });
    await until(async () => (await app.get()) === undefined, { what: 'the app to go' });
  });

  it('gives a re-created app of the same name nothing of the old one', async () => {
    const app = await AppFixture.make(cluster, 'again', { scaling: { minUnits: 1 } });
    const [old] = await app.untilJobs(1);
    const before = app.uid;
    await app.delete();
    await until(async () => (await app.get()) === undefined, { what: 'the app to go' });
    await app.create({ scaling: { minUnits: 1 } });
    const [fresh] = await app.untilJobs(1);
    expect(app.uid).not.toBe(before);
    expect(fresh?.metadata.name).not.toBe(old?.metadata.name);
  });
});

describe('credentials', () => {
  it('proves itself to the gateway with a key that is published', () => {
    expect(cluster.gateway.unauthorised).toEqual([]);
  });
});

describe('fields', () => {
  it('is the manager of every status, and of no spec', async () => {
    const app = await AppFixture.make(cluster, 'fields');
    await app.untilStatus('any', ({ phase }) => phase !== undefined);
    const object = await find<KubeObject & { metadata: { managedFields?: ManagedFields[] } }>(
      cluster.client,
      INFERENCE_APPS,
      app,
    );
    const ours = (object?.metadata.managedFields ?? []).filter(({ manager }) => manager === 'penstock-operator');
    expect(ours.some(({ subresource }) => subresource === 'status')).toBe(true);
    expect(ours.every(({ fieldsV1 }) => !('f:spec' in fieldsV1))).toBe(true);
  });
});
