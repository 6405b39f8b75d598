// SPDX-License-Identifier: Apache-2.0
// What the admission server knows of a cluster, read from a real API server with the rights of its own account and no others.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { OBJECTS } from '#crds/names.ts';
import { createEventRecorder } from '#kube/events.ts';
import type { EventRecorder } from '#kube/events.ts';
import { CONFIG_MAPS, EVENTS, NAMESPACES, NODES, PLACEMENTS } from '#kube/resource.ts';
import type { KubeObject } from '#kube/types.ts';
import { createCluster } from '#webhook/cluster/cluster.ts';
import type { Cluster } from '#webhook/cluster/cluster.ts';
import { startApiServer } from '../servers/apiserver.ts';
import type { ApiServer } from '../servers/apiserver.ts';
import { until } from '../until.ts';
import { aFixture } from './kube-fixture.ts';
import type { Fixture } from './kube-fixture.ts';
import { installAccount } from './webhook-certs.harness.ts';

const GIB = 2 ** 30;
const POLICY = { namespace: OBJECTS.systemNamespace, name: OBJECTS.slicingConfigMap };
const LABELS = {
  'nvidia.com/gpu.count': '1',
  'nvidia.com/gpu.memory': '81920',
  'nvidia.com/gpu.product': 'NVIDIA-A100-SXM4-80GB',
  'nvidia.com/gpu.replicas': '4',
  'nvidia.com/gpu.sharing-strategy': 'time-slicing',
};

let api: ApiServer;
let admin: Fixture;
let account: string;
let folder: string;
/** As the admission server's process makes them, in each test anew: what one test leaves the next would list. */
let seen: Fixture;
let events: EventRecorder;
let cluster: Cluster;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'penstock-webhook-nodes-'));
  api = await startApiServer();
  account = await installAccount(api, folder);
  admin = aFixture(api.kubeconfig);
});
afterAll(async () => {
  await admin.client.close();
  await api.stop();
  rmSync(folder, { recursive: true, force: true });
});

beforeEach(async () => {
  seen = aFixture(account);
  events = createEventRecorder({ ...seen, controller: 'penstock.dev/webhook', instance: 'test' });
  cluster = createCluster({
    ...seen,
    namespace: OBJECTS.systemNamespace,
    vramImage: 'example/penstock-vram:1',
    events,
  });
  cluster.start();
  await cluster.synced(AbortSignal.timeout(20_000));
});
afterEach(async () => {
  await cluster.stop();
  await events.stop();
  await seen.client.close();
  for (const [resource, namespace] of [[NODES], [PLACEMENTS], [CONFIG_MAPS, POLICY.namespace]] as const) {
    for (const { metadata } of (await admin.client.list(resource, { namespace })).items) {
      if (metadata.name !== 'kube-root-ca.crt') await admin.client.delete(resource, metadata);
    }
  }
});

async function addNode(
  name: string,
  labels: Record<string, string>,
  resources: Record<string, string>,
  runtime = 'containerd://2.1.4',
): Promise<void> {
  await admin.client.create(NODES, { metadata: { name, labels } });
  const nodeInfo = {
    containerRuntimeVersion: runtime,
    kubeletVersion: 'v1.36.3',
    machineID: '',
    systemUUID: '',
    bootID: '',
    kernelVersion: '',
    osImage: '',
    kubeProxyVersion: '',
    operatingSystem: 'linux',
    architecture: 'amd64',
  };
  await setStatus(name, { capacity: { cpu: '8', ...resources }, allocatable: { cpu: '8', ...resources }, nodeInfo });
}

function setStatus(name: string, status: object): Promise<KubeObject> {
  return admin.client.patch(NODES, { name }, { status }, { type: 'merge', subresource: 'status' });
}

function setLabels(name: string, labels: Record<string, string | null>): Promise<KubeObject> {
  return admin.client.patch(NODES, { name }, { metadata: { labels } }, { type: 'merge' });
}

async function write(text: string): Promise<void> {
  const configMap = { metadata: POLICY, data: { 'policy.yaml': text } };
  await admin.client.apply(CONFIG_MAPS, configMap, { fieldManager: 'test' });
}

const slotsOf = (name: string): readonly number[] =>
  cluster
    .inventory()
    .nodes.filter((node) => node.name === name)
    .flatMap(({ shared }) => shared.map(({ slotsPerGPU }) => slotsPerGPU));

const ruleFor = (namespace: string, labels: Record<string, string> = {}): string | undefined =>
  cluster.policy({ namespace, labels })?.rule;

/** Milliseconds until the admission server sees what was done. */
async function seenAfter(what: string, done: () => boolean): Promise<number> {
  const since = performance.now();
  await until(done, { what, everyMs: 2 });
  return performance.now() - since;
}

describe('nodes', () => {
  test('come, change, and go', async () => {
    expect(cluster.inventory()).toEqual({ synced: true, nodes: [] });
    await addNode('gpu-1', LABELS, { 'nvidia.com/gpu.shared': '4' });
    await addNode('cpu-1', {}, {});
    await until(() => slotsOf('gpu-1').length === 1, { what: 'the node with its units' });
    const [node] = cluster.inventory().nodes;
    expect(node).toMatchObject({ name: 'gpu-1', cards: 1, cardMemory: 80 * GIB, unschedulable: false });
    expect(node?.shared).toEqual([
      {
        resource: 'nvidia.com/gpu.shared',
        mode: 'TimeSlicing',
        slotsPerGPU: 4,
        memoryPerSlot: 20 * GIB,
        allocatable: 4,
        refusesMultiple: false,
        onOneCard: true,
      },
    ]);
    await setLabels('gpu-1', { 'nvidia.com/gpu.replicas': '8' });
    await until(() => slotsOf('gpu-1')[0] === 8, { what: 'the changed label' });
    await admin.client.patch(NODES, { name: 'gpu-1' }, { spec: { unschedulable: true } }, { type: 'merge' });
    await until(() => cluster.inventory().nodes[0]?.unschedulable === true, { what: 'the cordon' });
    await admin.client.delete(NODES, { name: 'gpu-1' });
    await until(() => cluster.inventory().nodes.length === 0, { what: 'the node to be gone' });
  });

  test('that only beat their hearts do not change the inventory', async () => {
    await addNode('gpu-1', LABELS, { 'nvidia.com/gpu.shared': '4' });
    await until(() => slotsOf('gpu-1').length === 1, { what: 'the node with its units' });
    const before = cluster.inventory();
    for (let i = 0; i < 20; i++) {
      const time = new Date(Date.UTC(2026, 0, 1, 0, i)).toISOString();
      const ready = { type: 'Ready', status: 'True', lastHeartbeatTime: time, lastTransitionTime: time };
      await setStatus('gpu-1', { conditions: [ready] });
    }
    // What is written after them is seen after them.
    await addNode('gpu-2', LABELS, { 'nvidia.com/gpu.shared': '4' });
    await until(() => slotsOf('gpu-2').length === 1, { what: 'the later node' });
    expect(cluster.inventory().nodes[0]).toBe(before.nodes[0]);
  });

  test('are seen to change within half a second', async () => {
    await addNode('gpu-1', LABELS, { 'nvidia.com/gpu.shared': '4' });
    await until(() => slotsOf('gpu-1').length === 1, { what: 'the node with its units' });
    const took: number[] = [];
    for (const replicas of [5, 6, 7, 8, 9]) {
      await setLabels('gpu-1', { 'nvidia.com/gpu.replicas': String(replicas) });
      took.push(await seenAfter('the changed label', () => slotsOf('gpu-1')[0] === replicas));
    }
    expect(Math.min(...took)).toBeLessThan(500);
  });

  test('MIG instances, with a Placement that says how much one has', async () => {
    const labels = { pool: 'mig', 'nvidia.com/gpu.count': '1', 'nvidia.com/mig-2g.20gb.memory': '19968' };
    await addNode('mig-1', labels, { 'nvidia.com/mig-1g.10gb': '4', 'nvidia.com/mig-2g.20gb': '1' });
    const offers = (): readonly string[] =>
      cluster.inventory().nodes.flatMap(({ shared }) => shared.map(({ resource }) => resource));
    await until(() => offers().join() === 'nvidia.com/mig-2g.20gb', { what: 'the profile whose memory is known' });
    const sharing = { mode: 'MIG', resourceName: 'nvidia.com/mig-1g.10gb', memoryPerSlot: '9Gi' };
    const spec = { kubernetes: { nodeSelectors: [{ pool: 'mig' }] }, sharing };
    const placement = { metadata: { name: 'mig' }, spec };
    await admin.client.create(PLACEMENTS, placement);
    await until(() => offers().length === 2, { what: 'both profiles' });
    expect(cluster.inventory().nodes[0]?.shared[0]).toMatchObject({ mode: 'MIG', memoryPerSlot: 9 * GIB });
    await admin.client.delete(PLACEMENTS, { name: 'mig' });
    await until(() => offers().length === 1, { what: 'the Placement to be gone' });
  });

  test('decide how the library comes into pods, each change anew', async () => {
    const kind = (): string | undefined => cluster.delivery('default')?.kind;
    expect(kind()).toBe('init');
    await addNode('gpu-1', LABELS, { 'nvidia.com/gpu.shared': '4' });
    await until(() => kind() === 'image', { what: 'image volumes' });
    await addNode('gpu-2', LABELS, { 'nvidia.com/gpu.shared': '4' }, 'containerd://1.7.27');
    await until(() => kind() === 'init', { what: 'the init container' });
    await write('version: 1\ndelivery: { strategy: image }');
    await until(() => kind() === 'image', { what: 'what the policy forces' });
    await write('version: 1');
    await until(() => kind() === 'init', { what: 'the judgement again' });
    await admin.client.delete(NODES, { name: 'gpu-2' });
    await until(() => kind() === 'image', { what: 'image volumes again' });
  });
});

describe('the policy', () => {
  const GOOD = `
version: 1
sharedResources: [{ name: nvidia.com/gpu.shared, slotsPerGPU: 2, memoryPerSlot: 8Gi }]
tolerations: [{ key: nvidia.com/gpu, operator: Exists }]
rules:
  - { name: labs, namespaceSelector: { matchLabels: { kind: lab } }, action: slice, ratio: 2 }
  - { name: jobs, podSelector: { matchExpressions: [{ key: job, operator: Exists }] }, action: ignore }
`;

  test('is in force soon after it is written, and none after it is deleted', async () => {
    expect(ruleFor('default', { job: 'a' })).toBeUndefined();
    await write(GOOD);
    const took = [await seenAfter('the policy', () => ruleFor('default', { job: 'a' }) === 'jobs')];
    expect(cluster.settings()).toMatchObject({
      preference: ['nvidia.com/gpu.shared'],
      tolerations: [{ key: 'nvidia.com/gpu' }],
    });
    for (const rule of ['a', 'b', 'c', 'd']) {
      await write(`version: 1\nrules: [{ name: ${rule}, action: slice }]`);
      took.push(await seenAfter('the edit', () => ruleFor('default') === rule));
    }
    expect(Math.min(...took)).toBeLessThan(500);
    await admin.client.delete(CONFIG_MAPS, POLICY);
    await until(() => ruleFor('default') === undefined, { what: 'no policy' });
    expect(cluster.settings().tolerations).toEqual([]);
  });

  test('changes what nodes offer', async () => {
    await addNode('gpu-1', {}, { 'nvidia.com/gpu.shared': '2' });
    await until(() => cluster.inventory().nodes.length === 1, { what: 'the node' });
    expect(slotsOf('gpu-1')).toEqual([]);
    await write(GOOD);
    await until(() => slotsOf('gpu-1')[0] === 2, { what: 'what the policy says of the resource' });
    expect(cluster.inventory().nodes[0]?.shared[0]?.memoryPerSlot).toBe(8 * GIB);
  });

  test('survives a broken edit, of which an Event tells on the ConfigMap; the next good one is taken', async () => {
    await write(GOOD);
    await until(() => ruleFor('default', { job: 'a' }) === 'jobs', { what: 'the policy' });
    await write(GOOD.replace('ratio: 2', 'ratio: 200'));
    const noted = async (reason: string): Promise<string | undefined> => {
      const { items } = await admin.client.list<KubeObject & { reason: string; note: string }>(EVENTS, {
        namespace: POLICY.namespace,
      });
      return items.find((event) => event.reason === reason)?.note;
    };
    expect(await until(() => noted('PolicyRefused'), { what: 'the Event' })).toBe(
      'rules[0].ratio: must be <= 64; write an integer from 1 to 64; the last good document stays in force',
    );
    expect(ruleFor('default', { job: 'a' })).toBe('jobs');
    expect(await seen.count('penstock_webhook_policy_last_reload_success')).toBe(0);
    await write(GOOD.replace('name: jobs', 'name: mended'));
    await until(() => ruleFor('default', { job: 'a' }) === 'mended', { what: 'the mended policy' });
    expect(await until(() => noted('PolicyAccepted'), { what: 'the second Event' })).toContain(
      'in force, with 2 rules',
    );
    expect(await seen.count('penstock_webhook_policy_last_reload_success')).toBe(1);
  });

  test('is not known after a restart with a broken document: no pod is sliced until it is mended or deleted', async () => {
    await addNode('gpu-1', LABELS, { 'nvidia.com/gpu.shared': '4' });
    await write(GOOD.replace('ratio: 2', 'ratio: 200'));
    await until(() => cluster.policyUnread(), { what: 'the broken document' });
    expect([cluster.hasSynced(), cluster.inventory().synced, ruleFor('default', { job: 'a' })]).toEqual([
      true,
      false,
      undefined,
    ]);
    await write(GOOD);
    await until(() => cluster.inventory().synced && slotsOf('gpu-1').length === 1, { what: 'the mended document' });
    expect([cluster.policyUnread(), ruleFor('default', { job: 'a' })]).toEqual([false, 'jobs']);
  });

  test('goes by the labels of a namespace, even of one that was made a moment ago', async () => {
    await write(GOOD);
    await until(() => ruleFor('default', { job: 'a' }) === 'jobs', { what: 'the policy' });
    for (let i = 0; i < 5; i++) {
      const name = `lab-${i}`;
      await admin.client.create(NAMESPACES, { metadata: { name, labels: { kind: 'lab' } } });
      await cluster.prepare(name);
      expect(ruleFor(name)).toBe('labs');
    }
    await admin.client.patch(
      NAMESPACES,
      { name: 'lab-0' },
      { metadata: { labels: { kind: 'office' } } },
      { type: 'merge' },
    );
    await until(() => ruleFor('lab-0') === undefined, { what: 'the changed label' });
    expect(await seen.count('penstock_webhook_policy_namespace_unknown_total')).toBe(0);
  });

  test('is as in the sample, which is taken', async () => {
    await api.kube('apply', '-f', 'config/samples/slicing.yaml');
    await until(async () => (await seen.count('penstock_webhook_policy_reloads_total')) === 1, { what: 'the sample' });
    expect(await seen.count('penstock_webhook_policy_last_reload_success')).toBe(1);
  });
});
