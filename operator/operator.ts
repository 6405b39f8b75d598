// SPDX-License-Identifier: Apache-2.0
import type { KubeConfig } from '@kubernetes/client-node';
import type { InferenceApp } from '#crds/inference-app.gen.ts';
import type { Placement } from '#crds/placement.gen.ts';
import { FINALIZERS, GROUP, LABELS, MANAGED_BY, OBJECTS } from '#crds/names.ts';
import type { Registry } from '#base/metrics.ts';
import type { KubeClient } from '#kube/client.ts';
import { createController } from '#kube/controller.ts';
import type { Controller } from '#kube/controller.ts';
import { createEventRecorder } from '#kube/events.ts';
import { createInformer } from '#kube/informer.ts';
import type { Informer, KubeDeps } from '#kube/informer.ts';
import { createKubeMetrics } from '#kube/kube-metrics.ts';
import { createLeaderElection } from '#kube/leader-election.ts';
import type { LeaseTimes } from '#kube/leader-election.ts';
import { INFERENCE_APPS, JOBS, PLACEMENTS, PODS } from '#kube/resource.ts';
import { keyOf } from '#kube/types.ts';
import type { KubeObject } from '#kube/types.ts';
import type { OperatorConfig } from './config.ts';
import { createAppFinalizer } from './controllers/app-finalizer.ts';
import { createAppReconciler } from './controllers/app-reconciler.ts';
import { createPlacementReconciler } from './controllers/placement-reconciler.ts';
import { createStatusWriter } from './controllers/status-writer.ts';
import { createDemandBoard } from './demand/demand-board.ts';
import { createGatewayClient } from './demand/gateway-client.ts';
import { createOperatorToken } from './demand/operator-token.ts';
import { createIssuer } from './issuer.ts';
import { createOperatorMetrics } from './metrics.ts';
import { OperatorProcess } from './process.ts';
import type { WatchedResource } from './process.ts';
import type { Job, Pod } from './units/objects.ts';
import { JobDriver, jobIndex, podIndex } from './units/job-driver.ts';
import { UnitSecrets } from './units/unit-secrets.ts';

const CONTROLLER = `${GROUP}/operator`;

export interface OperatorDeps extends Omit<KubeDeps, 'metrics'> {
  readonly kubeConfig: KubeConfig;
  readonly client: KubeClient;
  readonly registry: Registry;
  readonly config: Pick<
    OperatorConfig,
    'namespace' | 'gatewayUrl' | 'brokerUrl' | 'workerImage' | 'imagePullPolicy' | 'workers'
  >;
  /** Unique for each process run: the holder of the Lease. */
  readonly identity: string;
  /** Leadership was lost: what this process knows may be stale, it should end. */
  readonly onLost: () => void;
  readonly leaseTimes?: LeaseTimes;
}

export interface Operator {
  start(): Promise<void>;
  /** Ends the work in order, hands the Lease over, then ends the watches. */
  stop(): Promise<void>;
  isLeader(): boolean;
  /** Why this replica could not take over now, or undefined. */
  notReady(): string | undefined;
}

/** The whole operator but for configuration, ops port and signals: every replica watches, the leader acts. */
export function createOperator(deps: OperatorDeps): Operator {
  const parts = createParts(deps);
  const { watches, process, election } = parts;
  return {
    start: async () => {
      await process.start();
      election.start();
    },
    stop: async () => {
      await election.stop();
      process.stop();
      await process.stopped();
      await Promise.all([parts.events.stop(), parts.gateway.close()]);
    },
    isLeader: () => election.isLeader(),
    notReady: () => {
      const waiting = watches
        .filter(({ informer }) => !informer.cache.hasSynced())
        .map(({ resource }) => resource.plural);
      return waiting.length === 0 ? undefined : `not listed yet: ${waiting.join(', ')}`;
    },
  };
}

function createParts(deps: OperatorDeps): Parts {
  const kube: KubeDeps = { ...deps, metrics: createKubeMetrics(deps.registry) };
  const informers = createInformers(kube);
  const issuer = createIssuer({ ...deps, namespace: deps.config.namespace });
  const signer = (): ReturnType<typeof issuer.signer> => issuer.signer();
  const gateway = createGatewayClient({ url: deps.config.gatewayUrl, token: createOperatorToken(signer, deps.clock) });
  const events = createEventRecorder({ ...kube, controller: CONTROLLER, instance: deps.identity });
  const secrets = new UnitSecrets({ client: deps.client, signer, clock: deps.clock });
  const driver = new JobDriver({
    ...deps,
    jobs: informers.jobs.cache,
    pods: informers.pods.cache,
    secrets,
    settings: { ...deps.config, brokerUrl: deps.config.brokerUrl || deps.config.gatewayUrl },
    placement: (name) => informers.placements.cache.get(name),
  });
  const enqueueByUid = (uid: string | undefined): void => {
    const apps = uid === undefined ? informers.apps.cache.list() : informers.apps.cache.byIndex(uid);
    for (const app of apps) controllers.apps.enqueue(keyOf(app.metadata));
  };
  const board = createDemandBoard({
    ...deps,
    client: gateway,
    onChange: enqueueByUid,
    onWake: () => metrics.wakeUp(),
  });
  const metrics = createOperatorMetrics(deps.registry, { gatewayProblem: () => board.problem() });
  const status = createStatusWriter(deps.client, deps.clock);
  const act = {
    ...deps,
    driver,
    events,
    status,
    metrics,
    retire: (uid: string, unit: string) => gateway.retire(uid, unit),
    // Lease terms end by the clock: a process that was stopped for a while must not act on what it knew before.
    mayAct: () => lead.isLeader(),
  };
  const withFinalizer = (app: InferenceApp, onDelete: () => Promise<void>): Promise<boolean> =>
    process.withFinalizer(INFERENCE_APPS, app, FINALIZERS.units, onDelete);
  const finalizer = createAppFinalizer({ ...act, purge: (uid) => gateway.purge(uid) });
  const caches = { apps: informers.apps.cache, placements: informers.placements.cache };
  const controllers = {
    apps: createController({
      ...kube,
      name: 'inferenceapp',
      workers: deps.config.workers,
      reconcile: createAppReconciler({ ...act, ...caches, board, withFinalizer, finalizer }),
    }),
    placements: createController({
      ...kube,
      name: 'placement',
      workers: 1,
      reconcile: createPlacementReconciler({ ...act, placements: caches.placements }),
    }),
  };
  const watches = watchedResources(informers, controllers, enqueueByUid);
  const process = new OperatorProcess({ ...deps, watched: watches });
  const lead = leadership(deps, kube, { controllers, board, issuer, process });
  return { watches, process, events, gateway, election: lead };
}

interface Parts {
  readonly watches: readonly WatchedResource[];
  readonly process: OperatorProcess;
  readonly events: ReturnType<typeof createEventRecorder>;
  readonly gateway: ReturnType<typeof createGatewayClient>;
  readonly election: ReturnType<typeof createLeaderElection>;
}

interface Informers {
  readonly apps: Informer<InferenceApp>;
  readonly placements: Informer<Placement>;
  readonly jobs: Informer<Job>;
  readonly pods: Informer<Pod>;
}

function createInformers(kube: KubeDeps): Informers {
  // Only what the operator made: in a busy cluster everybody else's Jobs and pods are the bulk.
  const labelSelector = `${LABELS.managedBy}=${MANAGED_BY}`;
  const uidOf = (app: InferenceApp): string[] => [app.metadata.uid ?? ''];
  return {
    apps: createInformer<InferenceApp>(kube, { resource: INFERENCE_APPS, index: uidOf }),
    placements: createInformer<Placement>(kube, { resource: PLACEMENTS }),
    jobs: createInformer<Job>(kube, { resource: JOBS, labelSelector, index: jobIndex }),
    pods: createInformer<Pod>(kube, { resource: PODS, labelSelector, index: podIndex }),
  };
}

/** Which keys each kind of change concerns. */
function watchedResources(
  informers: Informers,
  controllers: { readonly apps: Controller; readonly placements: Controller },
  enqueueByUid: (uid: string | undefined) => void,
): readonly WatchedResource[] {
  const ofUnit = (object: unknown): void => {
    const uid = (object as KubeObject).metadata.labels?.[LABELS.appUid];
    if (uid !== undefined) enqueueByUid(uid);
  };
  return [
    {
      resource: INFERENCE_APPS,
      informer: informers.apps,
      onEvent: ({ meta }) => controllers.apps.enqueue(keyOf(meta)),
    },
    {
      resource: PLACEMENTS,
      informer: informers.placements,
      // Any app may name it, or have waited for one called default.
      onEvent: ({ meta }) => {
        controllers.placements.enqueue(keyOf(meta));
        enqueueByUid(undefined);
      },
    },
    { resource: JOBS, informer: informers.jobs, onEvent: ({ object }) => ofUnit(object) },
    { resource: PODS, informer: informers.pods, onEvent: ({ object }) => ofUnit(object) },
  ];
}

interface Led {
  readonly controllers: { readonly apps: Controller; readonly placements: Controller };
  readonly board: ReturnType<typeof createDemandBoard>;
  readonly issuer: ReturnType<typeof createIssuer>;
  readonly process: OperatorProcess;
}

/** What only the leader runs. Keys pile up (once each) on the others, so that a new leader looks at everything. */
function leadership(deps: OperatorDeps, kube: KubeDeps, led: Led): ReturnType<typeof createLeaderElection> {
  const { controllers, board, issuer, process } = led;
  let work: Promise<unknown> = Promise.resolve();
  const lead = async (leading: AbortSignal): Promise<void> => {
    await process.synced(leading);
    controllers.placements.start();
    controllers.apps.start();
    await Promise.all([board.run(leading), issuer.run(leading)]);
  };
  return createLeaderElection({
    ...kube,
    lease: { namespace: deps.config.namespace, name: OBJECTS.operatorLease },
    identity: deps.identity,
    ...(deps.leaseTimes === undefined ? {} : { times: deps.leaseTimes }),
    onStarted: (leading) => {
      deps.logger.info({ identity: deps.identity }, 'leading');
      work = lead(leading).catch((err: unknown) => {
        if (!leading.aborted) deps.logger.error({ err }, 'leading failed');
      });
    },
    onStopped: async (why) => {
      deps.logger.info({ why }, 'leading no more');
      const ended = Promise.all([controllers.apps.stop(), controllers.placements.stop(), work]);
      if (why === 'lost') deps.onLost();
      else await ended;
    },
  });
}
