// SPDX-License-Identifier: Apache-2.0
import { existsSync, mkdirSync, rmSync, statSync } from 'node:fs';
import { isIPv6 } from 'node:net';
import { dirname, join, resolve } from 'node:path';
import { systemClock as clock } from '#base/clock.ts';
import { createSigner, generateIssuerKey, publicJwks } from '#base/issuer.ts';
import type { Signer } from '#base/issuer.ts';
import { silentLogger } from '#base/logger.ts';
import type { Logger } from '#base/logger.ts';
import { createRegistry } from '#base/metrics.ts';
import type { Registry } from '#base/metrics.ts';
import { startOpsServer } from '#base/ops-server.ts';
import { systemRandom as random } from '#base/random.ts';
import type { FileAppSource } from '#gateway/apps/file-source.ts';
import { openAuditLog } from '#gateway/audit.ts';
import { DEFAULT_TENANT, openTenants } from '#gateway/auth/tenants.ts';
import { watchTenantsFile } from '#gateway/auth/tenants-file.ts';
import { createGateway, isLoopback } from '#gateway/gateway.ts';
import { deriveKey, deriveKeys } from '#gateway/keys.ts';
import { openEmbeddedQueue } from '#gateway/queue/open.ts';
import { readOrMakeSecret } from '#gateway/secret.ts';
import { createLocalStoreHandler, openLocalStore } from '#gateway/store/open.ts';
import { createGatewayClient } from '#operator/demand/gateway-client.ts';
import { createOperatorToken } from '#operator/demand/operator-token.ts';
import type { StandaloneConfig } from './config.ts';
import { openApps } from './apps.ts';
import { explained } from './errors.ts';
import { freeLoopbackPort } from './free-port.ts';
import { createProcessDriver } from './process-driver.ts';
import type { ProcessDriver } from './process-driver.ts';
import { createSupervisor } from './supervisor.ts';

export interface Standalone {
  /** Base URL of the client API. */
  readonly url: string;
  readonly opsUrl: string;
  /** Units that run now. */
  unitCount(): number;
  /** How deep the queue of an app in namespace default is. */
  depth(app: string): Promise<{ readonly queued: number; readonly leased: number }>;
  /** Answers who waits, ends the units, closes the files. What was accepted is in --data. */
  stop(): Promise<void>;
}

export interface StandaloneDeps {
  readonly logger: Logger;
  readonly version: string;
}

/**
 * The whole product in one process, for one machine: gateway, embedded queue, local objects, and the operator's decisions carried
 * out as local processes. @throws UsageError when manifests or --data cannot be used
 */
export async function startStandalone(
  config: StandaloneConfig,
  { logger, version }: StandaloneDeps,
): Promise<Standalone> {
  const closers: (() => Promise<void> | void)[] = [];
  const close = async (): Promise<void> => {
    for (const step of closers.splice(0).toReversed()) await step();
  };
  try {
    const running = await compose(config, { logger, version }, (step) => void closers.push(step));
    return { ...running, stop: close };
  } catch (err) {
    await close();
    throw err;
  }
}

type OnStop = (step: () => Promise<void> | void) => void;

async function compose(config: StandaloneConfig, deps: StandaloneDeps, onStop: OnStop) {
  const { logger, version } = deps;
  const data = await explained(`--data ${config.data}`, () => openData(config.data));
  // First of all: the queue's file is what locks --data against a second process.
  const file = join(data, 'queue.db');
  const queue = await explained(`--data ${config.data}`, () => openEmbeddedQueue({ file, clock, logger }));
  onStop(() => queue.close());
  const master = await explained(`--data ${config.data}`, () => readOrMakeSecret(join(data, 'master.key'), random));
  const apps = await explained(`-f ${config.apps}`, () => openApps(config, { data, clock, random, logger }));
  onStop(() => apps.close());
  const clientPort = config.port === 0 ? await freeLoopbackPort(random) : config.port;
  const internalPort = config.internalPort === 0 ? await freeLoopbackPort(random) : config.internalPort;
  const url = `http://${isIPv6(config.host) ? `[${config.host}]` : config.host}:${clientPort}`;
  const internalUrl = `http://127.0.0.1:${internalPort}`;
  const registry = createRegistry('standalone');
  const callers = await openCallers(config, { data, logger, registry, onStop });
  const urls = { clientUrl: `${url}/objects`, workerUrl: `${internalUrl}/objects` };
  const signingKey = deriveKey(master, 'objects');
  const store = await openLocalStore({ root: join(data, 'objects'), signingKey, ...urls, clock, random });
  onStop(() => store.close());
  const operatorKey = await generateIssuerKey();
  const gateway = await createGateway(
    {
      queue,
      store,
      apps,
      ...callers,
      clock,
      random,
      logger,
      // One line per call of every worker would bury the few lines that a person at a terminal looks for.
      accessLog: config.logLevel === 'debug' ? logger : silentLogger,
      registry,
      keys: await deriveKeys(master),
      operatorJwks: () => publicJwks([operatorKey]),
      objects: createLocalStoreHandler(store, { logger, mount: '/objects' }),
    },
    {
      clientHost: config.host,
      clientPort,
      internalHost: '127.0.0.1',
      internalPort,
      leaseSeconds: config.leaseSeconds,
      version,
    },
  );
  onStop(() => gateway.stop());
  await explained(`--host ${config.host}`, () => gateway.start());
  const signer = await createSigner(operatorKey, clock);
  const driver = operate({ config, data, apps, signer, internalUrl, logger, registry }, onStop);
  const notReady = (): string | undefined => gateway.notReady();
  const opsPort = config.opsPort;
  const ops = await explained('--ops-port', () =>
    startOpsServer({ host: '127.0.0.1', port: opsPort, registry, notReady, readyNote: () => gateway.readyNote() }),
  );
  onStop(() => ops.close());
  const depth = async (app: string) => {
    const { queued, leased } = await queue.demand(apps.get(DEFAULT_TENANT.namespace, app)?.uid ?? '');
    return { queued, leased };
  };
  return { url, opsUrl: `http://127.0.0.1:${ops.port}`, unitCount: () => driver.count(), depth };
}

interface Operating {
  readonly config: StandaloneConfig;
  readonly data: string;
  readonly apps: FileAppSource;
  readonly signer: Signer;
  readonly internalUrl: string;
  readonly logger: Logger;
  readonly registry: Registry;
}

/** The operator's half: it speaks to the gateway over the same wire as in a cluster. */
function operate(
  { config, data, apps, signer, internalUrl, logger, registry }: Operating,
  onStop: OnStop,
): ProcessDriver {
  const token = createOperatorToken(() => Promise.resolve(signer), clock);
  const client = createGatewayClient({ url: internalUrl, token });
  onStop(() => client.close());
  const dir = join(data, 'units');
  // Left by a process that was killed; its units have ended with it.
  rmSync(dir, { recursive: true, force: true });
  const driver = createProcessDriver({
    dir,
    brokerUrl: internalUrl,
    folderOf: (uid) => folderOf(apps, uid),
    signer,
    clock,
    logger,
    logLevel: config.logLevel,
  });
  onStop(() => driver.stop());
  const supervisor = createSupervisor({ apps, driver, client, clock, random, logger, registry });
  supervisor.start();
  onStop(() => supervisor.stop());
  return driver;
}

function folderOf(apps: FileAppSource, uid: string): string | undefined {
  const file = apps.manifest(uid)?.file;
  return file === undefined ? undefined : dirname(file);
}

function openData(folder: string): string {
  const data = resolve(folder);
  // Not recursive where it need not be: below a folder that refuses new ones with ENOENT (/proc) Node's recursion never ends.
  const recursive = !existsSync(dirname(data));
  if (!existsSync(data) || !statSync(data).isDirectory()) mkdirSync(data, { recursive, mode: 0o700 });
  return data;
}

interface Watching {
  readonly data: string;
  readonly logger: Logger;
  readonly registry: Registry;
  readonly onStop: OnStop;
}

/** Who may call, and the log of what they changed. */
async function openCallers({ tenants: file, host }: StandaloneConfig, { data, onStop, ...around }: Watching) {
  const { logger } = around;
  // Not to standard output: that belongs to the person at the terminal.
  const audit = await explained('--data', () => openAuditLog({ file: join(data, 'audit.log'), clock, logger }));
  onStop(() => audit.close());
  if (file === '') return { audit, tenants: openTenants() };
  const requireKeys = !isLoopback(host);
  // Manifests of one machine mostly name no namespace, so their apps are in this one.
  const homeNamespace = DEFAULT_TENANT.namespace;
  const tenants = await explained(`--tenants ${file}`, () =>
    watchTenantsFile({ ...around, file: resolve(file), clock, audit, requireKeys, homeNamespace }),
  );
  onStop(() => tenants.close());
  return { audit, tenants };
}
