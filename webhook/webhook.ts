// SPDX-License-Identifier: Apache-2.0
import { GROUP } from '#crds/names.ts';
import type { LineLogger } from '#base/line-log.ts';
import type { Registry } from '#base/metrics.ts';
import { createEventRecorder } from '#kube/events.ts';
import type { KubeDeps } from '#kube/informer.ts';
import { createKubeMetrics } from '#kube/kube-metrics.ts';
import type { AdmissionHandler } from './admission/types.ts';
import { createServingCertificate } from './certs/serving-certificate.ts';
import type { CertificateTimes } from './certs/times.ts';
import { createCluster } from './cluster/cluster.ts';
import type { Cluster } from './cluster/cluster.ts';
import type { WebhookConfig } from './config.ts';
import { createWebhookMetrics } from './metrics.ts';
import { forExisting } from './existing-namespaces.ts';
import { createMissedReport } from './missed/missed-report.ts';
import { createReadiness } from './readiness.ts';
import { createRoutes } from './server/routes.ts';
import { createAdmissionServer } from './server/server.ts';
import type { AdmissionServer } from './server/server.ts';
import { createSliceReport } from './slice-report.ts';
import { createEphemeralHandler, createPodHandler } from './slice/pod-handler.ts';
import { createValidation } from './validate/validation.ts';

const CONTROLLER = `${GROUP}/webhook`;
const SERVICE = 'penstock-webhook';
const DAY_MS = 24 * 3600 * 1000;

export interface WebhookDeps extends Omit<KubeDeps, 'metrics'> {
  readonly registry: Registry;
  readonly config: Pick<
    WebhookConfig,
    | 'namespace'
    | 'host'
    | 'port'
    | 'certificates'
    | 'vramImage'
    | 'imagePullPolicy'
    | 'drainSeconds'
    | 'syncGraceSeconds'
    | 'missedSeconds'
  > &
    Partial<Pick<WebhookConfig, 'certificateDays' | 'certificateRenewalDays'>>;
  /** PEM: who calls must have a certificate by one of these CAs. */
  readonly clientCa?: string;
  /** One line for each pod that is changed. */
  readonly changes: LineLogger;
  /** Unique for each process run. */
  readonly identity: string;
}

export interface Webhook {
  /** Reads what its answers rest on, and serves once it has a certificate. Answers the admission port; undefined: it was stopped before. */
  start(): Promise<number | undefined>;
  /** Serves on for `drainSeconds`, then ends connections in order, then everything else. */
  stop(): Promise<void>;
  /** Why the API server should not be sent here, or undefined. */
  notReady(): string | undefined;
}

/** The whole admission server but for configuration, ops port and signals. */
export function createWebhook(deps: WebhookDeps): Webhook {
  const { config, clock } = deps;
  const { server, certificate, cluster, validation, missed, events } = createParts(deps);
  const notReady = createReadiness(
    {
      listening: () => server.listening(),
      stopping: () => server.stopping(),
      certificate: () => certificate.notReady(),
      synced: () => cluster.hasSynced() && validation.synced(),
      trouble: () => cluster.trouble(),
    },
    clock,
    config.syncGraceSeconds * 1000,
  );
  return {
    start: () => {
      certificate.start();
      cluster.start();
      validation.start();
      missed.start();
      return server.start();
    },
    stop: async () => {
      // The report goes over to another replica at once.
      await Promise.all([server.drain(config.drainSeconds * 1000), missed.stop()]);
      await Promise.all([certificate.stop(), cluster.stop(), validation.stop()]);
      await events.stop();
    },
    notReady,
  };
}

function createParts(deps: WebhookDeps) {
  const { config, registry } = deps;
  const kube: KubeDeps = { ...deps, metrics: createKubeMetrics(registry) };
  const events = createEventRecorder({ ...kube, controller: CONTROLLER, instance: deps.identity });
  const metrics = createWebhookMetrics(
    registry,
    () => server.load(),
    (name) => cluster.namespaces.get(name) !== undefined,
  );
  const { namespace } = config;
  const certificate = createServingCertificate({
    ...kube,
    mode: config.certificates,
    namespace,
    service: SERVICE,
    events,
    registry,
    times: certificateTimes(config),
  });
  const { vramImage, imagePullPolicy: pullPolicy } = config;
  const cluster = createCluster({ ...kube, namespace, vramImage, pullPolicy, events, registry });
  const validation = createValidation({
    ...kube,
    namespace,
    events,
    registry,
    placements: cluster.placements,
    inventory: cluster.inventory,
    namespaceExists: (name) =>
      cluster.namespaces.hasSynced() ? cluster.namespaces.get(name) !== undefined : undefined,
  });
  const { identity } = deps;
  const intervalMs = config.missedSeconds * 1000;
  const missed = createMissedReport({ ...kube, cluster, namespace, identity, events, registry, intervalMs });
  const slices = createSliceReport({ ...deps, ...forExisting(cluster.namespaces, namespace, { metrics, events }) });
  const server: AdmissionServer = createAdmissionServer({
    ...deps,
    host: config.host,
    port: config.port,
    certificate,
    metrics,
    routes: createRoutes({
      mutatePods: whenPrepared(cluster, createPodHandler({ ...cluster, ...slices })),
      mutateEphemeral: createEphemeralHandler(slices),
      validateInferenceApps: validation.validateInferenceApps,
      validatePlacements: validation.validatePlacements,
    }),
  });
  return { server, certificate, cluster, validation, missed, events };
}

function certificateTimes({
  certificateDays,
  certificateRenewalDays,
}: WebhookDeps['config']): Partial<CertificateTimes> {
  return {
    ...(certificateDays === undefined ? {} : { leafMs: certificateDays * DAY_MS }),
    ...(certificateRenewalDays === undefined ? {} : { lookaheadMs: certificateRenewalDays * DAY_MS }),
  };
}

/** Pods of a namespace that was made a moment ago wait for its labels; all others are decided on at once. */
function whenPrepared(cluster: Cluster, handle: AdmissionHandler): AdmissionHandler {
  return (request, signal) => {
    const prepared = cluster.prepare(request.namespace ?? '');
    return prepared === undefined ? handle(request, signal) : prepared.then(() => handle(request, signal));
  };
}
