// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { until } from '../until.ts';
import { startChild, type Child } from './child.ts';
import { freePort } from './free-port.ts';

export interface RedisOptions {
  /** Default false: nothing survives a restart. */
  readonly appendonly?: boolean;
  /** Only with `appendonly`; default `always`. */
  readonly fsync?: 'always' | 'everysec' | 'no';
  /** Default `noeviction`, as deployed. */
  readonly maxmemoryPolicy?: string;
  /** Kept after `stop`; default: a folder of its own that `stop` removes. */
  readonly dir?: string;
  readonly port?: number;
  /** More of redis.conf, as name and value. */
  readonly config?: Readonly<Record<string, string>>;
}

/** What a test needs to reach it. */
export interface RedisAddress {
  readonly url: string;
  readonly port: number;
}

const startTimeoutMs = 15_000;
const probeTimeoutMs = 1_000;

/** A real redis-server on loopback. */
export class RedisServer implements RedisAddress {
  readonly port: number;
  readonly dir: string;
  private readonly options: RedisOptions;
  private child: Child | undefined;

  constructor(port: number, dir: string, options: RedisOptions) {
    this.port = port;
    this.dir = dir;
    this.options = options;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  /** Undefined while it is down. */
  get pid(): number | undefined {
    return this.child?.running() ? this.child.pid : undefined;
  }

  /** `kill -9`, and waits until the process is gone. */
  async kill9(): Promise<void> {
    await this.child?.end('SIGKILL');
  }

  /** Down if it still runs (SIGTERM: it saves what it is configured to save), then up on the same port and data. */
  async restart(): Promise<void> {
    await this.child?.end('SIGTERM');
    await this.start();
  }

  async stop(): Promise<void> {
    await this.child?.end('SIGKILL');
    if (this.options.dir === undefined) rmSync(this.dir, { recursive: true, force: true });
  }

  async start(): Promise<void> {
    const child = await startChild({
      command: 'redis-server',
      args: redisArgs(this.port, this.dir, this.options),
      logFile: join(this.dir, 'redis.log'),
      ...(this.options.dir === undefined ? { removeOnDeath: this.dir } : {}),
    }).catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT')
        throw new Error('redis-server not found: apt-get install -y redis-server');
      throw error;
    });
    this.child = child;
    // PING answers an error while the log is being read back, so this also waits for the data.
    await until(() => !child.running() || ping(this.port), { what: 'redis-server', timeoutMs: startTimeoutMs });
    if (!child.running()) throw new Error(`redis-server ended at its start:\n${child.log()}`);
  }
}

/** Starts one and waits until it answers. Fails with the command that brings it when Debian's redis-server is absent. */
export async function startRedis(options: RedisOptions = {}): Promise<RedisServer> {
  const dir = options.dir ?? mkdtempSync(join(tmpdir(), 'penstock-redis-'));
  mkdirSync(dir, { recursive: true });
  const server = new RedisServer(options.port ?? (await freePort()), dir, options);
  try {
    await server.start();
  } catch (error) {
    await server.stop();
    throw error;
  }
  return server;
}

function redisArgs(port: number, dir: string, options: RedisOptions): string[] {
  const config: Record<string, string> = {
    bind: '127.0.0.1',
    port: String(port),
    dir,
    save: '',
    appendonly: options.appendonly ? 'yes' : 'no',
    appendfsync: options.fsync ?? 'always',
    'maxmemory-policy': options.maxmemoryPolicy ?? 'noeviction',
    ...options.config,
  };
  return Object.entries(config).flatMap(([name, value]) => [`--${name}`, value]);
}

function ping(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1', timeout: probeTimeoutMs });
    const answer = (alive: boolean): void => {
      socket.destroy();
      resolve(alive);
    };
    socket.once('connect', () => socket.write('PING\r\n'));
    socket.once('data', (data) => answer(data.toString().startsWith('+PONG')));
    socket.once('timeout', () => answer(false));
    socket.once('error', () => answer(false));
    socket.once('close', () => resolve(false));
  });
}
