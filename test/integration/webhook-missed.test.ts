// SPDX-License-Identifier: Apache-2.0
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { OBJECTS } from '#crds/names.ts';
import { createRegistry } from '#base/metrics.ts';
import { createEventRecorder } from '#kube/events.ts';
import { EVENTS, LEASES, PODS } from '#kube/resource.ts';
import type { KubeObject } from '#kube/types.ts';
import { createMissedReport } from '#webhook/missed/missed-report.ts';
import type { MissedReport } from '#webhook/missed/missed-report.ts';
import { contextOf, gpuNode, slicedPod } from '#webhook/slice/fixtures.ts';
import { startApiServer } from '../servers/apiserver.ts';
import type { ApiServer } from '../servers/apiserver.ts';
import { until } from '../until.ts';
import { aFixture, aNamespace } from './kube-fixture.ts';
import type { Fixture } from './kube-fixture.ts';

/** An API server of its own: the report looks at every pod of the cluster. */
let api: ApiServer;
let admin: Fixture;
let namespace: string;
const running: Replica[] = [];

interface Event extends KubeObject {
  readonly reason?: string;
  readonly note?: string;
  readonly regarding?: { readonly name?: string; readonly kind?: string };
  readonly reportingInstance?: string;
}

interface Replica {
  readonly report: MissedReport;
  metric(name: string, kind: string): Promise<number | undefined>;
  stop(): Promise<void>;
}

beforeAll(async () => {
  api = await startApiServer({ crds: false });
  admin = aFixture(api.kubeconfig);
  await api.kube('create', 'namespace', OBJECTS.systemNamespace);
});
beforeEach(async () => {
  namespace = await aNamespace(admin.client, 'missed');
});
afterEach(async () => {
  await Promise.all(running.splice(0).map((replica) => replica.stop()));
  await api.kube('delete', 'pods', '--all', '-n', namespace, '--force', '--grace-period=0');
  await api.kube('delete', 'pods', '--all', '-n', OBJECTS.systemNamespace, '--force', '--grace-period=0');
});
afterAll(async () => {
  await admin.client.close();
  await api.stop();
});

function start(identity: string): Replica {
  const fixture = aFixture(api.kubeconfig);
  const registry = createRegistry('test', false);
  const events = createEventRecorder({ ...fixture, controller: 'penstock.dev/webhook', instance: identity });
  const { inventory, delivery, settings } = contextOf([gpuNode('n1')]);
  const report = createMissedReport({
    ...fixture,
    cluster: {
      inventory: () => inventory,
      policy: () => undefined,
      delivery: () => delivery,
      settings: () => settings,
    },
    namespace: OBJECTS.systemNamespace,
    identity,
    events,
    registry,
    intervalMs: 250,
    leaseTimes: { leaseMs: 3_000, renewDeadlineMs: 2_000, retryMs: 200 },
  });
  report.start();
  const replica = {
    report,
    metric: async (name: string, kind: string) => {
      const values = (await registry.getSingleMetric(name)?.get())?.values ?? [];
      return values.find(({ labels }) => labels['kind'] === kind)?.value;
    },
    stop: async () => {
      await report.stop();
      await events.stop();
      await fixture.client.close();
    },
  };
  running.push(replica);
  return replica;
}

async function create(name: string, annotations: Record<string, string> = {}, where = namespace): Promise<KubeObject> {
  const { metadata, spec } = slicedPod(annotations);
  return admin.client.create(PODS, { metadata: { ...metadata, name, namespace: where }, spec } as object as KubeObject);
}

const told = async (): Promise<Event[]> => {
  const { items } = await admin.client.list<Event>(EVENTS, { namespace });
  return items.filter(({ reason }) => reason === 'SliceMissed');
};

const holder = async (): Promise<string | undefined> => {
  const ref = { namespace: OBJECTS.systemNamespace, name: OBJECTS.webhookLease };
  const lease = await admin.client.get<KubeObject & { spec?: { holderIdentity?: string } }>(LEASES, ref);
  return lease.spec?.holderIdentity;
};

describe('pods that passed by the webhook', () => {
  it('are told once, by one of two replicas, and are left exactly as they are', async () => {
    const made = await Promise.all([create('a'), create('b'), create('out', { 'penstock.dev/slice': 'false' })]);
    await create('own', {}, OBJECTS.systemNamespace);
    const replicas = [start('one'), start('two')];
    const leader = await until(
      async () => {
        const counts = await Promise.all(
          replicas.map((replica) => replica.metric('penstock_webhook_missed_pods', 'whole')),
        );
        return replicas.find((_replica, index) => counts[index] === 2);
      },
      { what: 'two pods in the gauge of one replica' },
    );
    await until(async () => (await told()).length >= 2, { what: 'two Events' });
    const other = replicas.find((replica) => replica !== leader);
    expect(await other?.metric('penstock_webhook_missed_pods', 'whole')).toBeUndefined();
    // Several more looks: one that finds a third pod comes after those that found the first two.
    await create('c');
    await until(async () => (await told()).length >= 3, { what: 'the Event of the third' });
    const events = await told();
    expect(events).toHaveLength(3);
    expect(new Set(events.map(({ regarding }) => regarding?.name))).toEqual(new Set(['a', 'b', 'c']));
    expect(events[0]?.note).toContain('asks for a slice itself');
    expect(await leader.metric('penstock_webhook_missed_pods_total', 'whole')).toBe(3);
    const now = await Promise.all(made.map(({ metadata }) => admin.client.get(PODS, metadata as { name: string })));
    expect(now).toEqual(made.map((object) => ({ ...object, apiVersion: 'v1', kind: 'Pod' })));
  });

  it('are no longer counted when they are gone', async () => {
    await create('a');
    const replica = start('one');
    const count = (): Promise<number | undefined> => replica.metric('penstock_webhook_missed_pods', 'whole');
    await until(async () => (await count()) === 1, { what: 'one pod' });
    await api.kube('delete', 'pod', 'a', '-n', namespace, '--force', '--grace-period=0');
    await until(async () => (await count()) === 0, { what: 'none' });
    expect(await replica.metric('penstock_webhook_missed_pods_total', 'whole')).toBe(1);
  });

  it('go on being told when the replica that tells has gone', async () => {
    const replicas = new Map(['one', 'two'].map((identity) => [identity, start(identity)]));
    const first = await until(holder, { what: 'a leader' });
    await replicas.get(first)?.stop();
    await create('later');
    const events = await until(async () => ((await told()).length > 0 ? told() : undefined), { what: 'an Event' });
    expect(events[0]?.reportingInstance).not.toBe(first);
    expect(await holder()).not.toBe(first);
  });
});
