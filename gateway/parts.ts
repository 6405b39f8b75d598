// SPDX-License-Identifier: Apache-2.0
import { join } from 'node:path';
import { systemClock } from '#base/clock.ts';
import { ConfigError, envName } from '#base/config.ts';
import type { Logger } from '#base/logger.ts';
import type { Registry } from '#base/metrics.ts';
import { systemRandom } from '#base/random.ts';
import type { Shutdown } from '#base/shutdown.ts';
import { createKubeClient } from '#kube/client.ts';
import type { KubeDeps } from '#kube/informer.ts';
import { createKubeMetrics } from '#kube/kube-metrics.ts';
import { PooledKubeConfig } from '#kube/pooled-config.ts';
import { reviewToken } from '#kube/token-review.ts';
import { createTransport } from '#kube/transport.ts';
import { openFileSource } from './apps/file-source.ts';
import { watchKubeApps } from './apps/kube-source.ts';
import { openAuditLog } from './audit.ts';
import type { AuditLog } from './audit.ts';
import { watchKeysConfigMap, watchKeysFile } from './auth/operator-keys.ts';
import { TOKEN_AUDIENCE, createServiceAccounts } from './auth/service-accounts.ts';
import { openTenants } from './auth/tenants.ts';
import type { TenantSource } from './auth/tenants.ts';
import { withServiceAccounts } from './auth/tenants-and-accounts.ts';
import { watchTenantsFile } from './auth/tenants-file.ts';
import type { GatewayConfig } from './config.ts';
import { isLoopback } from './gateway.ts';
import { deriveKey, deriveKeys } from './keys.ts';
import { TOKEN_REVIEW_MS } from './limits.ts';
import type { GatewayDeps } from './options.ts';
import { openEmbeddedQueue, openRedisQueue } from './queue/open.ts';
import type { LeaseQueue } from './queue/lease-queue.ts';
import { readOrMakeSecret, readSecret } from './secret.ts';
import { createLocalStoreHandler, openLocalStore, openS3Store } from './store/open.ts';
import { whenReachable } from './when-reachable.ts';
import type { Patience } from './when-reachable.ts';

export interface Surroundings {
  readonly logger: Logger;
  readonly registry: Registry;
  /** Takes what has to be closed, in the order of opening. */
  readonly shutdown: Shutdown;
}

/** Drivers and sources as the configuration names them. */
export type Parts = Omit<GatewayDeps, 'clock' | 'logger' | 'accessLog' | 'registry'>;

/** @throws ConfigError, or what a driver throws that cannot be opened */
export async function openParts(config: GatewayConfig, around: Surroundings): Promise<Parts> {
  const { logger, shutdown } = around;
  const secret =
    config.secretFile === undefined
      ? readOrMakeSecret(join(config.data, 'gateway.secret'), systemRandom)
      : readSecret(config.secretFile);
  const patience = { clock: systemClock, random: systemRandom, logger, signal: shutdown.signal };
  const queue = await openQueue(config, patience);
  shutdown.onStop('queue', () => queue.close());
  const { store, objects } = await openStore(config, secret, patience);
  shutdown.onStop('object store', () => store.close());
  const kube = needsKube(config) ? openKube(around) : undefined;
  const apps = openApps(config, kube, logger);
  shutdown.onStop('apps', () => apps.close());
  const keys = openOperatorKeys(config, kube, logger);
  shutdown.onStop('operator keys', () => keys.close());
  const audit = openAuditLog({ file: config.auditFile, clock: systemClock, logger });
  shutdown.onStop('audit log', () => audit.close());
  return {
    queue,
    store,
    ...(objects === undefined ? {} : { objects }),
    apps,
    tenants: openTenantSource(config, around, { kube, audit }),
    audit,
    random: systemRandom,
    keys: await deriveKeys(secret),
    operatorJwks: () => keys.jwks(),
  };
}

async function openQueue(config: GatewayConfig, patience: Patience): Promise<LeaseQueue> {
  const { queue, data, redisUrl: url, redisPrefix: prefix } = config;
  const { clock, logger } = patience;
  if (queue === 'redis') return await whenReachable(() => openRedisQueue({ url, prefix, clock, logger }), patience);
  return openEmbeddedQueue({ file: join(data, 'queue.db'), clock, logger });
}

async function openStore(
  config: GatewayConfig,
  secret: Uint8Array,
  patience: Patience,
): Promise<Pick<GatewayDeps, 'store' | 'objects'>> {
  if (config.store === 's3') {
    const endpoint = need(config, 's3Endpoint');
    const options = {
      endpoint,
      publicEndpoint: config.s3PublicEndpoint ?? endpoint,
      region: config.s3Region,
      bucket: config.s3Bucket,
      accessKeyId: need(config, 's3AccessKeyId'),
      secretAccessKey: need(config, 's3SecretAccessKey'),
      prefix: config.s3Prefix,
      createBucket: config.s3CreateBucket,
      clock: patience.clock,
    };
    return { store: await whenReachable(() => openS3Store(options), patience) };
  }
  const store = await openLocalStore({
    root: join(config.data, 'objects'),
    signingKey: deriveKey(secret, 'objects'),
    clientUrl: `${urlOf(config, 'publicUrl', config.clientHost, config.clientPort)}/objects`,
    workerUrl: `${urlOf(config, 'internalUrl', config.internalHost, config.internalPort)}/objects`,
    clock: systemClock,
    random: systemRandom,
  });
  return { store, objects: createLocalStoreHandler(store, { logger: patience.logger, mount: '/objects' }) };
}

/** Signed URLs are built before the ports are open, so a port that is not known yet needs its URL said. */
function urlOf(config: GatewayConfig, name: 'publicUrl' | 'internalUrl', host: string, port: number): string {
  const given = config[name];
  if (given !== undefined) return given.replace(/\/+$/, '');
  if (port !== 0 && host !== '0.0.0.0' && host !== '::')
    return `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
  throw new ConfigError(
    name,
    `is required when the local store's address cannot be told from host and port; set ${envName(name)}`,
  );
}

function need(config: GatewayConfig, name: 's3Endpoint' | 's3AccessKeyId' | 's3SecretAccessKey'): string {
  const value = config[name];
  if (value !== undefined) return value;
  throw new ConfigError(name, `is required with store: s3; set it in the file or by ${envName(name)}`);
}

function needsKube({ apps, issuer, tokenReview }: GatewayConfig): boolean {
  return apps === 'kubernetes' || issuer === 'kubernetes' || tokenReview;
}

function openKube({ logger, registry, shutdown }: Surroundings): KubeDeps {
  const kubeConfig = PooledKubeConfig.load();
  shutdown.onStop('Kubernetes connections', () => kubeConfig.close());
  return {
    client: createKubeClient(createTransport(kubeConfig, 'penstock-gateway')),
    clock: systemClock,
    random: systemRandom,
    logger,
    metrics: createKubeMetrics(registry),
  };
}

function openApps(config: GatewayConfig, kube: KubeDeps | undefined, logger: Logger) {
  if (kube !== undefined && config.apps === 'kubernetes') return watchKubeApps(kube);
  return openFileSource({ path: config.appsPath, data: config.data, clock: systemClock, random: systemRandom, logger });
}

function openOperatorKeys(config: GatewayConfig, kube: KubeDeps | undefined, logger: Logger) {
  if (kube !== undefined && config.issuer === 'kubernetes') return watchKeysConfigMap(kube, config.issuerNamespace);
  return watchKeysFile(config.issuerFile, logger);
}

interface TenantParts {
  readonly kube: KubeDeps | undefined;
  readonly audit: AuditLog;
}

function openTenantSource(config: GatewayConfig, around: Surroundings, { kube, audit }: TenantParts): TenantSource {
  const tenants = openTenantsFile(config, around, audit);
  if (kube === undefined || !config.tokenReview) return tenants;
  const { client } = kube;
  const review = (token: string) => reviewToken(client, token, [TOKEN_AUDIENCE], { deadlineMs: TOKEN_REVIEW_MS });
  return withServiceAccounts(tenants, createServiceAccounts({ ...around, review, clock: systemClock }));
}

function openTenantsFile(
  { tenantsFile, tokenReview, clientHost }: GatewayConfig,
  around: Surroundings,
  audit: AuditLog,
) {
  if (tenantsFile === undefined) return openTenants();
  const requireKeys = !tokenReview && !isLoopback(clientHost);
  const tenants = watchTenantsFile({ ...around, file: tenantsFile, clock: systemClock, audit, requireKeys });
  around.shutdown.onStop('tenants', () => tenants.close());
  return tenants;
}
