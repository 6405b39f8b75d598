// SPDX-License-Identifier: Apache-2.0
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Redis } from 'ioredis';
import { systemClock } from '#base/clock.ts';
import { createSigner } from '#base/issuer.ts';
import { seededRandom } from '#base/random.ts';
import type { Random } from '#base/random.ts';
import { OPERATOR_ISSUER, UNIT_AUDIENCE, UNIT_TOKEN_SECONDS } from '#base/wire/claims.ts';
import { openS3Store } from '#gateway/store/open.ts';
import type { ObjectStore } from '#gateway/store/object-store.ts';
import { testApps } from '#test/integration/gateway.harness.ts';
import type { S3Address } from '#test/servers/minio.ts';
import { startRedis } from '#test/servers/redis.ts';
import type { RedisServer } from '#test/servers/redis.ts';
import { until } from '#test/until.ts';
import { redisBackend } from '../backend-redis.ts';
import type { Backend } from '../backend.ts';
import { createChaosClient } from '../client.ts';
import type { ChaosClient } from '../client.ts';
import { startFaultProxy } from '../fault-proxy.ts';
import type { FaultProxy } from '../fault-proxy.ts';
import { APP_NAME, APP_NAMESPACE, APP_UID } from '../fleet.ts';
import type { Fleet } from '../fleet.ts';
import { createHistory } from '../history.ts';
import type { History, Seen } from '../history.ts';
import type { Scene } from '../scene.ts';
import { FIRST_CAPS } from '../shares.ts';
import { startChildNode } from './child-node.ts';
import type { ChildNode } from './child-node.ts';
import type { ProcessPlan } from './plan.ts';
import { chaosApp } from './settings.ts';
import type { GatewaySettings, UnitProcessSettings } from './settings.ts';

/** What all schedules of a run share. */
export interface ProcessGround {
  readonly fleet: Fleet;
  readonly master: string;
  readonly s3: S3Address;
}

interface Node extends ChildNode {
  readonly network: FaultProxy;
}
interface GatewayChild extends Node {
  readonly clients: FaultProxy;
  readonly internalPort: number;
}

const GATEWAYS = 2;
const START_MS = 30_000;
const START_TRIES = 20;
const main = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** Processes, servers and networks of one schedule. */
export class ProcessWorld implements Scene {
  readonly history: History;
  readonly dir: string;
  readonly apps = testApps([chaosApp()]);
  readonly time = { now: () => Date.now() };
  readonly revision = chaosApp().revision;
  readonly caps = () => FIRST_CAPS;
  readonly gateways: GatewayChild[] = [];
  readonly units: Node[] = [];
  readonly client: ChaosClient;
  readonly redis: RedisServer;
  readonly backend: Backend;
  readonly store: ObjectStore;
  readonly #plan: ProcessPlan;
  readonly #ground: ProcessGround;
  readonly #random: Random;
  readonly #inspector: Redis;
  #rate = 0;
  #started = 0;
  #unitsStarted = 0;
  #filling: Promise<void> = Promise.resolve();

  private constructor(plan: ProcessPlan, ground: ProcessGround, parts: Parts) {
    this.#plan = plan;
    this.#ground = ground;
    this.#random = seededRandom(plan.seed);
    this.dir = parts.dir;
    this.redis = parts.redis;
    this.#inspector = parts.inspector;
    this.backend = parts.backend;
    this.store = parts.store;
    const told = createHistory();
    this.history = { ...told, all: () => [...told.all(), ...historiesIn(this.dir)] };
    this.client = createChaosClient({
      fleet: ground.fleet,
      history: this.history,
      random: this.#random,
      gateways: () => this.live().map(({ clients }) => `http://127.0.0.1:${clients.port}`),
    });
  }

  static async open(plan: ProcessPlan, ground: ProcessGround): Promise<ProcessWorld> {
    const dir = mkdtempSync(join(tmpdir(), 'penstock-chaos-processes-'));
    mkdirSync(join(dir, 'seen'));
    const redis = await startRedis({ appendonly: true, fsync: 'always' });
    const inspector = new Redis(redis.url, { maxRetriesPerRequest: null });
    inspector.on('error', () => {});
    const shared = { prefix: 'chaos', clock: systemClock, random: seededRandom(plan.seed) };
    const backend = await redisBackend({ port: redis.port, client: inspector, ...shared });
    const store = await openS3Store({ ...s3Of(ground, dir), publicEndpoint: ground.s3.endpoint, clock: systemClock });
    return new ProcessWorld(plan, ground, { dir, redis, inspector, backend, store });
  }

  live(): readonly GatewayChild[] {
    return this.gateways.filter((gateway) => gateway.running());
  }

  liveUnits(): readonly Node[] {
    return this.units.filter((unit) => unit.running());
  }

  /** As a kubelet would: one that ends at its start, as Redis is away, is started again. */
  async fillGateways(): Promise<void> {
    const before = this.#filling;
    this.#filling = before.then(async () => {
      for (let tried = 0; this.live().length < GATEWAYS; tried++) await this.#startGateway(tried);
    });
    await this.#filling;
  }

  async #startGateway(tried: number): Promise<void> {
    const number = this.#started++;
    const name = `gateway-${number}`;
    const network = await startFaultProxy(() => this.redis.port, this.#random);
    const portsFile = join(this.dir, `${name}.ports`);
    const settings: GatewaySettings = {
      master: this.#ground.master,
      operatorKey: this.#ground.fleet.operatorKey,
      redisUrl: `redis://127.0.0.1:${network.port}`,
      redisPrefix: 'chaos',
      s3: s3Of(this.#ground, this.dir),
      clockOffsetMs: this.#plan.gatewayOffsets[number % this.#plan.gatewayOffsets.length] ?? 0,
      historyFile: join(this.dir, 'seen', name),
      portsFile,
    };
    const child = await startChildNode({ name, main: main('gateway-main.ts'), settings, dir: this.dir });
    await until(() => existsSync(portsFile) || !child.running(), { what: `${name} to listen`, timeoutMs: START_MS });
    if (!existsSync(portsFile)) {
      if (tried >= START_TRIES) throw new Error(`${name} ended at its start:\n${child.log()}`);
      return;
    }
    const ports = JSON.parse(readFileSync(portsFile, 'utf8')) as { clientPort: number; internalPort: number };
    const clients = await startFaultProxy(() => ports.clientPort, this.#random);
    this.gateways.push({ ...child, network, clients, internalPort: ports.internalPort });
    this.setRate(this.#rate);
  }

  async startUnit(): Promise<void> {
    const number = this.#unitsStarted++;
    const name = `u${number}`;
    const { operatorKey } = this.#ground.fleet;
    const network = await startFaultProxy(() => this.#someGateway()?.internalPort, this.#random);
    const signer = await createSigner(operatorKey, systemClock);
    const claims = { app_uid: APP_UID, namespace: APP_NAMESPACE, app: APP_NAME, placement: 'local' };
    const subject = { iss: OPERATOR_ISSUER, aud: UNIT_AUDIENCE, sub: name, revision: this.revision };
    const unitTokenFile = join(this.dir, `${name}.token`);
    writeFileSync(unitTokenFile, await signer.sign({ ...subject, ...claims }, UNIT_TOKEN_SECONDS));
    const settings: UnitProcessSettings = {
      name,
      port: network.port,
      unitTokenFile,
      concurrency: 1 + (number % 4),
      batchSize: 1 + (number % 2),
      clockOffsetMs: this.#plan.unitOffsets[number % this.#plan.unitOffsets.length] ?? 0,
    };
    const child = await startChildNode({ name, main: main('unit-main.ts'), settings, dir: this.dir });
    this.units.push({ ...child, network });
    this.setRate(this.#rate);
  }

  #someGateway(): GatewayChild | undefined {
    const live = this.live();
    return live[Math.floor(this.#random.fraction() * live.length)];
  }

  setRate(rate: number): void {
    this.#rate = rate;
    for (const { network, clients } of this.gateways) for (const one of [network, clients]) one.setRate(rate);
    for (const { network } of this.units) network.setRate(rate);
  }

  /** What every process printed, for a report. */
  logs(): readonly string[] {
    return [...this.gateways, ...this.units].map((node) => `--- ${node.name}\n${node.log()}`);
  }

  /** Gateways and units end: from here on only the harness touches queue and store. */
  async endAll(): Promise<void> {
    await Promise.all([...this.gateways, ...this.units].map((node) => node.kill()));
    appendFileSync(join(this.dir, 'ended'), '');
  }

  async close(): Promise<void> {
    await this.endAll();
    for (const { network } of [...this.gateways, ...this.units]) network.kill();
    for (const { clients } of this.gateways) clients.kill();
    await this.client.close();
    await this.backend.close();
    this.#inspector.disconnect();
    await this.redis.stop();
    await this.store.close();
    rmSync(this.dir, { recursive: true, force: true });
  }
}

interface Parts {
  readonly dir: string;
  readonly redis: RedisServer;
  readonly inspector: Redis;
  readonly backend: Backend;
  readonly store: ObjectStore;
}

/** A prefix of its own for each schedule: they share the server. */
function s3Of({ s3 }: ProcessGround, dir: string): GatewaySettings['s3'] {
  const { endpoint, region, bucket, accessKeyId, secretAccessKey } = s3;
  return { endpoint, region, bucket, accessKeyId, secretAccessKey, prefix: `${dir.slice(-6)}/` };
}

/** What the gateways wrote down. The last line of one that was killed may be half a line. */
function historiesIn(dir: string): Seen[] {
  const folder = join(dir, 'seen');
  return readdirSync(folder).flatMap((file) =>
    readFileSync(join(folder, file), 'utf8')
      .split('\n')
      .flatMap((line) => (line.endsWith('}') ? [JSON.parse(line) as Seen] : [])),
  );
}
