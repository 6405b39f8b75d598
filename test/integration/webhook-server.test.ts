// SPDX-License-Identifier: Apache-2.0
// The admission server as the API server sees it: what it changes and refuses, how it comes and goes.
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:http2';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { InferenceApp } from '#crds/inference-app.gen.ts';
import { INFERENCE_APPS, PLACEMENTS, PODS } from '#kube/resource.ts';
import type { KubeObject } from '#kube/types.ts';
import { until } from '../until.ts';
import { TEAM, webhookCluster } from './webhook.harness.ts';
import type { WebhookCluster, WebhookProcess } from './webhook.harness.ts';

interface Pod extends KubeObject {
  readonly spec: {
    readonly containers: readonly {
      readonly name: string;
      readonly image: string;
      readonly securityContext: object;
      readonly resources?: { readonly limits?: Readonly<Record<string, string>> };
    }[];
  };
}

const strict = {
  allowPrivilegeEscalation: false,
  capabilities: { drop: ['ALL'] },
  runAsNonRoot: true,
  seccompProfile: { type: 'RuntimeDefault' },
};
const unique = (): string => randomBytes(6).toString('hex');

function aPod(annotations: Readonly<Record<string, string>> = {}, gpus = '1'): Pod {
  const resources = gpus === '0' ? {} : { limits: { 'nvidia.com/gpu': gpus } };
  return {
    metadata: { namespace: TEAM, name: `pod-${unique()}`, annotations },
    spec: { containers: [{ name: 'main', image: 'app:1', securityContext: strict, resources }] },
  };
}

const SLICED = { 'penstock.dev/slice': 'true', 'penstock.dev/slice-ratio': '2' };
const limitsOf = (pod: Pod): unknown => pod.spec.containers[0]?.resources?.limits;
const anApp = (): InferenceApp =>
  ({
    metadata: { namespace: TEAM, name: `a-${unique()}` },
    spec: { worker: { archetype: 'Handler', image: 'app:1', handler: 'handler.ts' } },
  }) as unknown as InferenceApp;

let cluster: WebhookCluster;
let webhook: WebhookProcess;
const create = (pod: Pod): Promise<Pod> => cluster.admin.client.create<Pod>(PODS, pod);

beforeAll(async () => {
  cluster = await webhookCluster();
  webhook = await cluster.replica();
  cluster.proxy.point(webhook.port);
  // Ready = it has seen its CA in the configurations; the API server reads them by a watch of its own.
  await until(async () => limitsOf(await create(aPod(SLICED)))?.['nvidia.com/gpu.shared' as never] === '2', {
    what: 'an API server that calls',
  });
});
afterAll(() => cluster.stop());

describe('a pod', () => {
  it('that asks for a slice has one when it is created', async () => {
    const pod = await create(aPod(SLICED));
    expect(limitsOf(pod)).toEqual({ 'nvidia.com/gpu.shared': '2' });
    expect(pod.metadata.annotations).toMatchObject({ 'main.vram.penstock.dev/quota': String(40 * 2 ** 30) });
    const mutations = await webhook.metric('penstock_webhook_mutations_total');
    expect(mutations['namespace="team",workload_type="none"']).toBeGreaterThan(0);
    expect((await webhook.metric('penstock_webhook_gpus_saved_total'))['']).toBeGreaterThan(0);
    // Written within a second.
    const line = await until(
      () =>
        webhook
          .log()
          .split('\n')
          .find((text) => text.includes(pod.metadata.name)),
      {
        what: 'a line about the pod',
      },
    );
    expect(JSON.parse(line)).toMatchObject({
      msg: 'pod sliced',
      namespace: TEAM,
      gpusSaved: 0.5,
      slices: [{ container: 'main', resource: 'nvidia.com/gpu.shared', units: 2, quota: 40 * 2 ** 30 }],
    });
  });

  it('that asks for none, and one without GPUs, cost no call or no change', async () => {
    const calls = async (): Promise<number> =>
      (await webhook.metric('penstock_webhook_requests_total'))['webhook="pods",result="allowed",namespace="team"'] ??
      0;
    const before = await calls();
    await create(aPod(SLICED, '0'));
    expect(await calls()).toBe(before);
    expect(limitsOf(await create(aPod()))).toEqual({ 'nvidia.com/gpu': '1' });
    expect(await calls()).toBe(before + 1);
    expect(
      (await webhook.metric('penstock_webhook_noops_total'))[
        'reason="not-asked",namespace="team",workload_type="none"'
      ],
    ).toBeGreaterThan(0);
  });

  it('that is a copy of a sliced one without its annotations has no slots that nothing limits', async () => {
    const { spec } = await create(aPod(SLICED));
    const copy = await create({ ...aPod(), spec });
    expect(limitsOf(copy)).toEqual({ 'nvidia.com/gpu': '1' });
    expect(JSON.stringify(copy.spec)).not.toContain('penstock');
  });

  it('with an annotation that makes no sense is refused, by the field', async () => {
    const creating = create(aPod({ 'penstock.dev/slice': 'true', 'penstock.dev/slice-ratio': 'much' }));
    await expect(creating).rejects.toMatchObject({
      status: 422,
      message: expect.stringMatching(/pods\.penstock\.dev.*slice-ratio.*much/),
    });
  });

  it('that asks for all slots stays whole, and says so itself', async () => {
    const pod = await create(aPod({ ...SLICED, 'penstock.dev/slice-ratio': '4' }));
    expect(limitsOf(pod)).toEqual({ 'nvidia.com/gpu': '1' });
    expect(pod.metadata.annotations?.['penstock.dev/slice-status']).toMatch(
      /^not sliced, keeps its whole GPUs: main: /,
    );
  });

  it('that is only tried is sliced and not counted', async () => {
    const counted = async (): Promise<unknown> => webhook.metric('penstock_webhook_mutations_total');
    const before = await counted();
    const tried = await cluster.admin.client.create<Pod>(PODS, aPod(SLICED), { dryRun: true });
    expect(limitsOf(tried)).toEqual({ 'nvidia.com/gpu.shared': '2' });
    expect(await counted()).toEqual(before);
  });
});

describe('an object of ours', () => {
  it('that would escape from its pod is refused, by the field', async () => {
    const volumes = [{ name: 'host', hostPath: { path: '/' } }];
    const app = {
      ...anApp(),
      spec: { ...anApp().spec, worker: { ...anApp().spec.worker, podTemplate: { spec: { volumes } } } },
    };
    await expect(cluster.admin.client.create(INFERENCE_APPS, app as InferenceApp)).rejects.toMatchObject({
      status: 422,
      message: expect.stringMatching(/inferenceapps\.penstock\.dev.*podTemplate.*hostPath/),
    });
  });

  it('that promises more memory than a card has is refused', async () => {
    const sharing = {
      mode: 'TimeSlicing',
      resourceName: 'nvidia.com/gpu.shared',
      slotsPerGPU: 4,
      memoryPerSlot: '60Gi',
    };
    const placement = { metadata: { name: 'big' }, spec: { kubernetes: {}, allowedNamespaces: ['*'], sharing } };
    await expect(cluster.admin.client.create(PLACEMENTS, placement as KubeObject)).rejects.toMatchObject({
      status: 422,
      message: expect.stringMatching(/placements\.penstock\.dev.*memoryPerSlot/),
    });
  });

  it('that is as it should be is created, with warnings where there is something to say', async () => {
    const app = await cluster.admin.client.create<InferenceApp>(INFERENCE_APPS, anApp());
    expect(app.metadata.uid).toBeDefined();
    const answered = await webhook.metric('penstock_webhook_requests_total');
    expect(answered['webhook="inferenceapps",result="allowed",namespace="team"']).toBe(1);
    expect(answered['webhook="inferenceapps",result="refused",namespace="team"']).toBe(1);
    expect(answered['webhook="placements",result="refused",namespace="other"']).toBe(1);
  });
});

describe('somebody in the cluster network who is no API server', () => {
  it('and fills all places with bodies that never end takes none from it', async () => {
    const sessions = await Promise.all(
      [1, 2, 3].map(async () => {
        const session = connect(`https://127.0.0.1:${webhook.port}`, { rejectUnauthorized: false });
        session.on('error', () => {});
        await once(session, 'remoteSettings');
        return session;
      }),
    );
    const path = '/mutate/pods?timeout=30s';
    for (const session of sessions)
      for (let at = 0; at < 256; at++) {
        const stream = session.request({ ':method': 'POST', ':path': path, 'content-type': 'application/json' });
        stream.on('error', () => {});
        stream.resume();
        stream.write('{');
      }
    await until(async () => (await webhook.metric('penstock_webhook_in_flight'))[''] === 512, {
      what: 'a full house',
      everyMs: 5,
    });
    const before = performance.now();
    expect(limitsOf(await create(aPod(SLICED)))).toEqual({ 'nvidia.com/gpu.shared': '2' });
    expect(performance.now() - before).toBeLessThan(1_500);
    for (const session of sessions) session.destroy();
  });
});

describe('an end in order', () => {
  it('costs no create and no slice', { timeout: 90_000 }, async () => {
    const second = await cluster.replica();
    const created: Pod[] = [];
    const failed: unknown[] = [];
    const enough = new AbortController();
    const creator = async (): Promise<void> => {
      while (!enough.signal.aborted)
        await create(aPod(SLICED)).then(
          (pod) => created.push(pod),
          (err: unknown) => failed.push(err),
        );
    };
    const creators = Array.from({ length: 4 }, creator);
    const count = async (more: number): Promise<void> => {
      const wanted = created.length + more;
      await until(() => created.length >= wanted || failed.length > 0, { what: `${more} pods` });
    };
    await count(20);
    webhook.signal('SIGTERM');
    // As the endpoints of the Service follow readiness.
    await until(async () => (await webhook.readyz()) === 'stopping', { what: 'an end of readiness', everyMs: 5 });
    await count(20);
    cluster.proxy.point(second.port);
    expect(await webhook.exited).toBe(0);
    await count(20);
    enough.abort();
    await Promise.all(creators);
    expect(failed).toEqual([]);
    expect(created.filter((pod) => limitsOf(pod)?.['nvidia.com/gpu.shared' as never] !== '2')).toEqual([]);
    webhook = second;
  });
});

describe('without anybody there', () => {
  it('pods are created as they are, objects of ours are refused, and those that go may go', async () => {
    const app = { ...anApp(), metadata: { ...anApp().metadata, finalizers: ['penstock.dev/units'] } };
    const made = await cluster.admin.client.create<InferenceApp>(INFERENCE_APPS, app);
    webhook.signal('SIGKILL');
    await webhook.exited;
    expect(limitsOf(await create(aPod(SLICED)))).toEqual({ 'nvidia.com/gpu': '1' });
    await expect(cluster.admin.client.create(INFERENCE_APPS, anApp())).rejects.toMatchObject({
      status: 500,
      message: expect.stringContaining('inferenceapps.penstock.dev'),
    });
    const ref = { namespace: TEAM, name: made.metadata.name };
    const relabel = { metadata: { labels: { team: 'a' } } };
    await cluster.admin.client.patch(INFERENCE_APPS, ref, relabel, { type: 'merge' });
    const operator = 'system:serviceaccount:penstock-system:penstock-operator';
    const patch = JSON.stringify({ spec: { desiredState: 'Paused' } });
    const patching = ['-n', TEAM, 'patch', 'iapp', made.metadata.name, '--type=merge', '-p', patch];
    await cluster.api.kube(...patching, '--as', operator);
    await expect(cluster.api.kube(...patching, '-p', '{"spec":{"desiredState":"Ready"}}')).rejects.toThrow(
      /failed calling webhook/,
    );
    await cluster.admin.client.delete(INFERENCE_APPS, ref);
    await cluster.admin.client.patch(INFERENCE_APPS, ref, { metadata: { finalizers: [] } }, { type: 'merge' });
    await expect(cluster.admin.client.get(INFERENCE_APPS, ref)).rejects.toMatchObject({ status: 404 });
  });
});
