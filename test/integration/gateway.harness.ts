// SPDX-License-Identifier: Apache-2.0
import { hash, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '#base/clock.ts';
import { createSigner, generateIssuerKey, publicJwks } from '#base/issuer.ts';
import type { Signer } from '#base/issuer.ts';
import { silentLogger } from '#base/logger.ts';
import type { Logger } from '#base/logger.ts';
import { createRegistry } from '#base/metrics.ts';
import type { Registry } from '#base/metrics.ts';
import { systemRandom } from '#base/random.ts';
import {
  INTERNAL_AUDIENCE,
  OPERATOR_ISSUER,
  OPERATOR_SUBJECT,
  OPERATOR_TOKEN_SECONDS,
  UNIT_AUDIENCE,
} from '#base/wire/claims.ts';
import type {
  CompleteCall,
  CompleteReply,
  ExtendReply,
  FailReply,
  LeaseReply,
  TokenAnswer,
  UploadUrlReply,
  WireLease,
} from '#base/wire/broker.ts';
import type { AppSource, ServedApp } from '#gateway/apps/app-source.ts';
import type { AuditLog } from '#gateway/audit.ts';
import { openTenants, parseTenants } from '#gateway/auth/tenants.ts';
import type { TenantSource } from '#gateway/auth/tenants.ts';
import { createGateway } from '#gateway/gateway.ts';
import type { Gateway, GatewayOptions } from '#gateway/gateway.ts';
import { deriveKey, deriveKeys } from '#gateway/keys.ts';
import { createOrphanSweep } from '#gateway/orphan-objects.ts';
import type { OrphanSweep, OrphanSweepOptions } from '#gateway/orphan-objects.ts';
import type { LeaseQueue } from '#gateway/queue/lease-queue.ts';
import { openEmbeddedQueue } from '#gateway/queue/open.ts';
import type { ObjectStore } from '#gateway/store/object-store.ts';
import { createLocalStoreHandler, openLocalStore } from '#gateway/store/open.ts';
import { freePort } from '#test/servers/free-port.ts';

/** Apps that a test sets. */
export interface TestApps extends AppSource {
  set(app: ServedApp): void;
  remove(uid: string): void;
}

export function testApps(initial: readonly ServedApp[]): TestApps {
  const byUid = new Map(initial.map((app) => [app.uid, app]));
  const listeners = new Set<() => void>();
  const changed = (): void => {
    for (const listener of listeners) listener();
  };
  return {
    get: (namespace, name) => [...byUid.values()].find((app) => app.namespace === namespace && app.name === name),
    byUid: (uid) => byUid.get(uid),
    list: () => [...byUid.values()],
    onChange: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    synced: () => true,
    close: async () => {},
    set: (app) => {
      byUid.set(app.uid, app);
      changed();
    },
    remove: (uid) => {
      byUid.delete(uid);
      changed();
    },
  };
}

export interface AppPatch {
  readonly uid?: string;
  readonly namespace?: string;
  readonly name?: string;
  readonly revision?: string;
  readonly deleting?: boolean;
  readonly desiredState?: ServedApp['spec']['desiredState'];
  readonly maxBytes?: number;
  readonly schema?: Record<string, unknown>;
  readonly retentionSeconds?: number;
  readonly maxAttempts?: number;
  readonly minUnits?: number;
  readonly lingerSeconds?: number;
}

export function testApp(patch: AppPatch = {}): ServedApp {
  return {
    uid: patch.uid ?? 'uid-echo',
    namespace: patch.namespace ?? 'default',
    name: patch.name ?? 'echo',
    revision: patch.revision ?? 'rev1',
    deleting: patch.deleting ?? false,
    spec: {
      desiredState: patch.desiredState ?? 'Ready',
      worker: { archetype: 'Handler', handler: 'echo.ts', instances: 1 },
      request: {
        ...(patch.schema === undefined ? {} : { schema: patch.schema }),
        maxBytes: patch.maxBytes ?? 8 * 1024 * 1024,
        timeoutSeconds: 600,
        resultRetentionSeconds: patch.retentionSeconds ?? 86_400,
        retry: { maxAttempts: patch.maxAttempts ?? 3, maxLosses: 5 },
      },
      scaling: {
        minUnits: patch.minUnits ?? 0,
        maxUnits: 4,
        requestsPerUnit: 10,
        concurrency: 8,
        maxScaleUpPerCycle: 3,
        scaleUpCooldownSeconds: 0,
        startupGraceSeconds: 900,
        idleLinger: { policy: 'Fixed', seconds: patch.lingerSeconds ?? 30 },
      },
    },
  };
}

export interface StackOptions {
  readonly apps?: readonly ServedApp[];
  readonly queue?: LeaseQueue;
  readonly store?: ObjectStore;
  readonly tenants?: TenantSource;
  readonly audit?: AuditLog;
  /** Of the gateway, access lines included; default: silent. */
  readonly logger?: Logger;
  readonly gateway?: Partial<GatewayOptions>;
  /** Share it between two gateways of one fleet. */
  readonly fleet?: Fleet;
}

/** What all replicas of a gateway and the operator share. */
export interface Fleet {
  readonly master: Uint8Array;
  readonly operatorKey: Awaited<ReturnType<typeof generateIssuerKey>>;
}

export async function makeFleet(): Promise<Fleet> {
  return { master: randomBytes(32), operatorKey: await generateIssuerKey() };
}

export interface Stack {
  readonly gateway: Gateway;
  readonly apps: TestApps;
  readonly queue: LeaseQueue;
  readonly store: ObjectStore;
  readonly registry: Registry;
  readonly operator: Signer;
  /** Base URL of the client port. */
  readonly url: string;
  /** Base URL of the internal port. */
  readonly internal: string;
  readonly dir: string;
  readonly unit: (name: string, patch?: { readonly app?: string; readonly revision?: string }) => Promise<TestUnit>;
  readonly operatorToken: () => Promise<string>;
  readonly close: () => Promise<void>;
}

/** A gateway on free loopback ports over an embedded queue and a local store, unless others are given. */
export async function startStack(options: StackOptions = {}): Promise<Stack> {
  const dir = mkdtempSync(join(tmpdir(), 'penstock-gateway-'));
  const fleet = options.fleet ?? (await makeFleet());
  const apps = testApps(options.apps ?? [testApp()]);
  const ownQueue = options.queue === undefined;
  const queue =
    options.queue ?? openEmbeddedQueue({ file: join(dir, 'queue.db'), clock: systemClock, logger: silentLogger });
  const [clientPort, internalPort] = [await freePort(), await freePort()];
  const url = `http://127.0.0.1:${clientPort}`;
  const internal = `http://127.0.0.1:${internalPort}`;
  const local = await openLocalStore({
    root: join(dir, 'objects'),
    signingKey: deriveKey(fleet.master, 'objects'),
    clientUrl: `${url}/objects`,
    workerUrl: `${internal}/objects`,
    clock: systemClock,
    random: systemRandom,
  });
  const operator = await createSigner(fleet.operatorKey, systemClock);
  const registry = createRegistry('gateway', false);
  const gateway = await createGateway(
    {
      queue,
      store: options.store ?? local,
      apps,
      tenants: options.tenants ?? openTenants(),
      ...(options.audit === undefined ? {} : { audit: options.audit }),
      clock: systemClock,
      random: systemRandom,
      logger: options.logger ?? silentLogger,
      registry,
      keys: await deriveKeys(fleet.master),
      operatorJwks: () => publicJwks([fleet.operatorKey]),
      objects: createLocalStoreHandler(local, { logger: silentLogger, mount: '/objects' }),
    },
    {
      clientHost: '127.0.0.1',
      clientPort,
      internalHost: '127.0.0.1',
      internalPort,
      leaseSeconds: 30,
      version: '0.0.0-test',
      ...options.gateway,
    },
  );
  await gateway.start();
  return {
    gateway,
    apps,
    queue,
    store: options.store ?? local,
    registry,
    operator,
    url,
    internal,
    dir,
    unit: async (name, patch = {}) => await connectUnit(internal, operator, name, patch),
    operatorToken: () =>
      operator.sign({ iss: OPERATOR_ISSUER, aud: INTERNAL_AUDIENCE, sub: OPERATOR_SUBJECT }, OPERATOR_TOKEN_SECONDS),
    close: async () => {
      await gateway.stop();
      if (ownQueue) await queue.close();
      await local.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** The walk over stored objects as it would go that much later. Nothing else of the gateway sees that time. */
export function orphanSweepLater(
  parts: Pick<OrphanSweepOptions, 'queue' | 'store' | 'apps'>,
  laterMs: number,
): OrphanSweep {
  return createOrphanSweep({
    ...parts,
    recovery: { trusted: async () => true },
    clock: { ...systemClock, now: () => Date.now() + laterMs },
    random: systemRandom,
    logger: silentLogger,
    registry: createRegistry('later', false),
  });
}

/** A worker as the broker sees it. */
export interface TestUnit {
  readonly name: string;
  readonly token: string;
  lease(max?: number, waitSeconds?: number): Promise<LeaseReply>;
  /** Leases one request, or fails. */
  one(waitSeconds?: number): Promise<WireLease>;
  complete(lease: WireLease, text: string, contentType?: string): Promise<string>;
  extend(...leases: readonly WireLease[]): Promise<ExtendReply>;
  fail(lease: WireLease, kind: 'handler' | 'input' | 'timeout', message: string): Promise<string>;
  release(...leases: readonly WireLease[]): Promise<unknown>;
  /** Uploads a result and completes with it. */
  upload(lease: WireLease, bytes: Uint8Array, contentType: string): Promise<string>;
  post(call: string, body: unknown, signal?: AbortSignal): Promise<Response>;
}

export async function unitToken(
  operator: Signer,
  unit: string,
  { app = 'uid-echo', revision = 'rev1' }: { readonly app?: string; readonly revision?: string } = {},
): Promise<string> {
  const claims = { iss: OPERATOR_ISSUER, aud: UNIT_AUDIENCE, sub: unit, app_uid: app, revision };
  return await operator.sign({ ...claims, namespace: 'default', app: 'echo', placement: 'local' }, 3600);
}

export async function connectUnit(
  internal: string,
  operator: Signer,
  name: string,
  patch: { readonly app?: string; readonly revision?: string },
): Promise<TestUnit> {
  const answer = await fetch(`${internal}/internal/v1/token`, {
    method: 'POST',
    headers: { authorization: `Bearer ${await unitToken(operator, name, patch)}` },
  });
  if (answer.status !== 200) throw new Error(`token: ${answer.status} ${await answer.text()}`);
  const { token } = (await answer.json()) as TokenAnswer;
  const post = (call: string, body: unknown, signal?: AbortSignal): Promise<Response> =>
    fetch(`${internal}/internal/v1/${call}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
      ...(signal === undefined ? {} : { signal }),
    });
  const ask = async <T>(call: string, body: unknown): Promise<T> => {
    const response = await post(call, body);
    const text = await response.text();
    if (response.status !== 200) throw new Error(`${call}: ${response.status} ${text}`);
    return JSON.parse(text) as T;
  };
  const finish = async (lease: WireLease, result: CompleteCall['results'][number]['result']): Promise<string> => {
    const { results } = await ask<CompleteReply>('complete', {
      results: [{ ...held(lease), result, service_micros: 1500 }],
    });
    return results[0]?.outcome ?? 'none';
  };
  const lease = (max = 1, waitSeconds = 0): Promise<LeaseReply> => ask('lease', { max, wait_seconds: waitSeconds });
  return {
    name,
    token,
    post,
    lease,
    one: async (waitSeconds = 5) => {
      const [first] = (await lease(1, waitSeconds)).leases;
      if (first === undefined) throw new Error('no request came');
      return first;
    },
    complete: (leased, text, contentType = 'text/plain') =>
      finish(leased, {
        content_type: contentType,
        bytes: Buffer.byteLength(text),
        inline: Buffer.from(text).toString('base64'),
      }),
    extend: (...leases) => ask('extend', { leases: leases.map(held) }),
    fail: async (leased, kind, message) => {
      const { failures } = await ask<FailReply>('fail', { failures: [{ ...held(leased), cause: { kind, message } }] });
      return failures[0]?.outcome ?? 'none';
    },
    release: (...leases) => ask('release', { leases: leases.map(held) }),
    upload: async (leased, bytes, contentType) => {
      const call = { ...held(leased), content_type: contentType, bytes: bytes.length };
      const { url, headers, name: key } = await ask<UploadUrlReply>('upload-url', call);
      const put = await fetch(url, { method: 'PUT', headers, body: bytes });
      if (!put.ok) throw new Error(`upload: ${put.status} ${await put.text()}`);
      return await finish(leased, { content_type: contentType, bytes: bytes.length, name: key });
    },
  };
}

export function held({ id, lease_token }: WireLease): { id: string; lease_token: string } {
  return { id, lease_token };
}

/** Bytes of a leased body, wherever they are. */
export async function bodyOf(lease: WireLease): Promise<Buffer> {
  const { inline, url } = lease.body;
  if (inline !== undefined) return Buffer.from(inline, 'base64');
  if (url === undefined) return Buffer.alloc(0);
  return Buffer.from(await (await fetch(url)).arrayBuffer());
}

/** One tenant per name, with its own key; the namespace is the tenant's name. */
export function tenantsWithKeys(keys: Readonly<Record<string, string>>): TenantSource {
  return parseTenants({
    tenants: Object.entries(keys).map(([name, key]) => ({ name, apiKeys: [{ sha256: hash('sha256', key) }] })),
  });
}
