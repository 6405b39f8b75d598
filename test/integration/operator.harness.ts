// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import type { JSONWebKeySet } from 'jose';
import type { InferenceApp } from '#crds/inference-app.gen.ts';
import { LABELS, OBJECTS } from '#crds/names.ts';
import { silentLogger } from '#base/logger.ts';
import type { Logger } from '#base/logger.ts';
import { createRegistry } from '#base/metrics.ts';
import type { Registry } from '#base/metrics.ts';
import { systemClock } from '#base/clock.ts';
import { systemRandom } from '#base/random.ts';
import { ISSUER_CONFIGMAP, ISSUER_KEY } from '#base/wire/claims.ts';
import { createKubeClient } from '#kube/client.ts';
import type { KubeClient } from '#kube/client.ts';
import { find } from '#kube/apply.ts';
import type { LeaseTimes } from '#kube/leader-election.ts';
import { PooledKubeConfig } from '#kube/pooled-config.ts';
import { CONFIG_MAPS, INFERENCE_APPS, JOBS, PLACEMENTS } from '#kube/resource.ts';
import type { Resource } from '#kube/resource.ts';
import { createTransport } from '#kube/transport.ts';
import type { KubeObject } from '#kube/types.ts';
import { createOperator } from '#operator/operator.ts';
import type { Operator } from '#operator/operator.ts';
import type { Job } from '#operator/units/objects.ts';
import { startApiServer } from '#test/servers/apiserver.ts';
import type { ApiServer } from '#test/servers/apiserver.ts';
import { until } from '../until.ts';
import { aNamespace } from './kube-fixture.ts';
import { startFakeGateway } from './operator.fake-gateway.ts';
import type { FakeGateway } from './operator.fake-gateway.ts';

const rbac = fileURLToPath(new URL('../../config/rbac', import.meta.url));

/** Short terms, as a test that kills a leader waits for one; long enough that a busy machine costs no leader its term, for nobody starts it again. */
const TEST_LEASE: LeaseTimes = { leaseMs: 12_000, renewDeadlineMs: 10_000, retryMs: 300 };

export interface RunningOperator extends Operator {
  readonly registry: Registry;
}

export interface OperatorPatch {
  readonly logger?: Logger;
  /** Another gateway than the fake one. */
  readonly gatewayUrl?: string;
}

export interface Cluster {
  readonly api: ApiServer;
  /** As administrator. */
  readonly client: KubeClient;
  readonly gateway: FakeGateway;
  /** Starts an operator that acts as its own service account, so that every call is also a test of its permissions. */
  startOperator(patch?: OperatorPatch): Promise<RunningOperator>;
  close(): Promise<void>;
}

/** An API server of the file's own with CRDs, roles and a gateway; no controllers, so Jobs do only what the test says. */
export async function startCluster(): Promise<Cluster> {
  const api = await startApiServer();
  const client = createKubeClient(createTransport(PooledKubeConfig.load(api.kubeconfig)));
  await api.kube('create', 'namespace', OBJECTS.systemNamespace);
  await api.kube('apply', '-k', rbac);
  const gateway = await startFakeGateway(() => publishedKeys(client));
  return {
    api,
    client,
    gateway,
    startOperator: (patch = {}) => startOperator(api, { gatewayUrl: gateway.url, ...patch }),
    close: async () => {
      await gateway.close();
      await client.close();
      await api.stop();
    },
  };
}

async function publishedKeys(client: KubeClient): Promise<JSONWebKeySet> {
  const ref = { namespace: OBJECTS.systemNamespace, name: ISSUER_CONFIGMAP };
  const published = await find<KubeObject & { data?: Record<string, string> }>(client, CONFIG_MAPS, ref);
  return JSON.parse(published?.data?.[ISSUER_KEY] ?? '{"keys":[]}') as JSONWebKeySet;
}

/** The API server as one of Penstock's own accounts sees it. */
export function asAccount(api: ApiServer, account: 'operator' | 'gateway'): PooledKubeConfig {
  const kubeConfig = PooledKubeConfig.load(api.kubeconfig);
  const impersonateUser = `system:serviceaccount:${OBJECTS.systemNamespace}:penstock-${account}`;
  kubeConfig.users = kubeConfig.users.map((user) => ({ ...user, impersonateUser }));
  return kubeConfig;
}

async function startOperator(
  api: ApiServer,
  patch: OperatorPatch & { readonly gatewayUrl: string },
): Promise<RunningOperator> {
  const kubeConfig = asAccount(api, 'operator');
  const registry = createRegistry('test', false);
  const operator = createOperator({
    kubeConfig,
    client: createKubeClient(createTransport(kubeConfig)),
    registry,
    config: {
      namespace: OBJECTS.systemNamespace,
      gatewayUrl: patch.gatewayUrl,
      brokerUrl: '',
      workerImage: 'example/worker:1',
      imagePullPolicy: 'IfNotPresent',
      workers: 4,
    },
    identity: `test-${randomBytes(4).toString('hex')}`,
    clock: systemClock,
    random: systemRandom,
    logger: patch.logger ?? silentLogger,
    onLost: () => {},
    leaseTimes: TEST_LEASE,
  });
  await operator.start();
  return {
    ...operator,
    registry,
    stop: async () => {
      await operator.stop();
      await kubeConfig.close();
    },
  };
}

type Spec = Partial<Omit<InferenceApp['spec'], 'worker' | 'scaling' | 'request'>> & {
  worker?: Partial<InferenceApp['spec']['worker']>;
  scaling?: Partial<InferenceApp['spec']['scaling']>;
};

/** One app in a namespace of its own, with a placement of its own unless `placements` says otherwise. */
export class AppFixture {
  readonly namespace: string;
  readonly name: string;
  readonly placement: string;
  readonly #cluster: Cluster;
  uid = '';

  private constructor(cluster: Cluster, namespace: string, name: string) {
    this.#cluster = cluster;
    this.namespace = namespace;
    this.name = name;
    this.placement = namespace;
  }

  static async make(cluster: Cluster, name: string, spec: Spec = {}, namespace?: string): Promise<AppFixture> {
    const made = new AppFixture(cluster, namespace ?? (await aNamespace(cluster.client, 'operator')), name);
    if (spec.placements === undefined) await made.makePlacement();
    await made.create(spec);
    return made;
  }

  async makePlacement(allowedNamespaces = [this.namespace]): Promise<void> {
    const object = { metadata: { name: this.placement }, spec: { kubernetes: {}, allowedNamespaces } };
    await this.#cluster.client.create(PLACEMENTS, object);
  }

  async create({ worker, ...spec }: Spec): Promise<void> {
    const app = await this.#cluster.client.create<InferenceApp>(INFERENCE_APPS, {
      metadata: { namespace: this.namespace, name: this.name },
      spec: {
        worker: { archetype: 'Handler', handler: 'handlers/a.ts', image: 'example/app:1', ...worker },
        placements: [{ name: this.placement }],
        ...spec,
      },
    } as unknown as InferenceApp);
    this.uid = app.metadata.uid ?? '';
    this.demand();
  }

  /** What the gateway's queue holds. */
  demand(patch: Parameters<FakeGateway['set']>[1] = {}): void {
    this.#cluster.gateway.set({ uid: this.uid, namespace: this.namespace, name: this.name }, patch);
  }

  /** The units have called the gateway. */
  seen(units: readonly string[], patch: { retired?: boolean; leases?: number } = {}): void {
    const wire = { revision: '', leases: 0, last_seen_at: Date.now(), retired: false, ...patch };
    this.demand({ units: units.map((unit) => ({ ...wire, unit })) });
  }

  patch(spec: unknown): Promise<InferenceApp> {
    return this.#cluster.client.patch<InferenceApp>(INFERENCE_APPS, this, { spec }, { type: 'merge' });
  }

  get(): Promise<InferenceApp | undefined> {
    return find<InferenceApp>(this.#cluster.client, INFERENCE_APPS, this);
  }

  delete(): Promise<void> {
    return this.#cluster.client.delete(INFERENCE_APPS, this);
  }

  async jobs(): Promise<readonly Job[]> {
    const labelSelector = `${LABELS.appUid}=${this.uid}`;
    return (await this.#cluster.client.list<Job>(JOBS, { namespace: this.namespace, labelSelector })).items;
  }

  /** Waits until there are exactly `count` Jobs. */
  async untilJobs(count: number, timeoutMs = 30_000): Promise<readonly Job[]> {
    const look = async (): Promise<readonly Job[] | false> => {
      const jobs = await this.jobs();
      return jobs.length === count && jobs;
    };
    return until(look, { what: `${count} Jobs of ${this.name}`, timeoutMs });
  }

  /** Waits until the status satisfies the condition, and returns it. */
  async untilStatus(
    what: string,
    isIt: (status: NonNullable<InferenceApp['status']>) => boolean,
    timeoutMs = 30_000,
  ): Promise<NonNullable<InferenceApp['status']>> {
    const look = async (): Promise<NonNullable<InferenceApp['status']> | false> => {
      const status = (await this.get())?.status;
      return status !== undefined && isIt(status) && status;
    };
    return until(look, { what: `${this.name}: ${what}`, timeoutMs });
  }
}

/** Does what the Job controller would: the pod of this Job is ready, has finished or has failed. */
export async function setJob(
  client: KubeClient,
  job: Job,
  state: 'ready' | 'starting' | 'Complete' | 'Failed',
): Promise<void> {
  const now = new Date().toISOString().slice(0, 19) + 'Z';
  // It can be set once only.
  const startTime =
    (await find<Job & { status?: { startTime?: string } }>(client, JOBS, job.metadata))?.status?.startTime ?? now;
  const condition = (type: string): object => ({ type, status: 'True', reason: 'Test', lastTransitionTime: now });
  const statuses = {
    starting: { startTime, active: 1, ready: 0 },
    ready: { startTime, active: 1, ready: 1 },
    Complete: {
      startTime,
      completionTime: now,
      active: 0,
      ready: 0,
      succeeded: 1,
      conditions: [condition('SuccessCriteriaMet'), condition('Complete')],
    },
    Failed: {
      startTime,
      active: 0,
      ready: 0,
      failed: 1,
      conditions: [condition('FailureTarget'), condition('Failed')],
    },
  };
  await client.patch(JOBS, job.metadata, { status: statuses[state] }, { type: 'merge', subresource: 'status' });
}

const EVENTS: Resource = { group: 'events.k8s.io', version: 'v1', kind: 'Event', plural: 'events', namespaced: true };

/** Reasons of the Events about objects of a namespace, oldest first. */
export async function eventReasons(client: KubeClient, namespace: string): Promise<string[]> {
  const { items } = await client.list<KubeObject & { reason?: string; eventTime?: string }>(EVENTS, { namespace });
  const inOrder = items.toSorted((a, b) => ((a.eventTime ?? '') < (b.eventTime ?? '') ? -1 : 1));
  return inOrder.map((event) => event.reason ?? '');
}
