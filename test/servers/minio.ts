// SPDX-License-Identifier: Apache-2.0
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { until } from '../until.ts';
import { startChild, type Child } from './child.ts';
import { freePort } from './free-port.ts';
import { kubeAssets } from './kube-assets.ts';

/** What a test needs to reach it; the shape of an S3 client's settings. */
export interface S3Address {
  readonly endpoint: string;
  readonly region: string;
  readonly bucket: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

export interface MinioOptions {
  readonly port?: number;
  /** Created at the start; default `penstock`. */
  readonly bucket?: string;
}

const startTimeoutMs = 30_000;
const region = 'us-east-1';
const accessKeyId = 'penstock-test';
const secretAccessKey = 'penstock-test-secret';

/** A real S3 server on loopback. */
export class MinioServer implements S3Address {
  readonly port: number;
  readonly dir: string;
  readonly bucket: string;
  readonly region = region;
  readonly accessKeyId = accessKeyId;
  readonly secretAccessKey = secretAccessKey;
  private child: Child | undefined;

  constructor(port: number, dir: string, bucket: string) {
    this.port = port;
    this.dir = dir;
    this.bucket = bucket;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  get pid(): number | undefined {
    return this.child?.running() ? this.child.pid : undefined;
  }

  async kill9(): Promise<void> {
    await this.child?.end('SIGKILL');
  }

  /** Down if it still runs, then up on the same port and data. */
  async restart(): Promise<void> {
    await this.child?.end('SIGTERM');
    await this.start();
  }

  async stop(): Promise<void> {
    await this.child?.end('SIGKILL');
    rmSync(this.dir, { recursive: true, force: true });
  }

  async start(): Promise<void> {
    const data = join(this.dir, 'data');
    mkdirSync(data, { recursive: true });
    const child = await startChild({
      command: join(await kubeAssets('minio'), 'minio'),
      args: ['server', data, '--address', `127.0.0.1:${this.port}`, '--quiet'],
      // No console, and no question over the network whether there is a newer one.
      env: {
        ...process.env,
        MINIO_ROOT_USER: accessKeyId,
        MINIO_ROOT_PASSWORD: secretAccessKey,
        MINIO_BROWSER: 'off',
        MINIO_UPDATE: 'off',
      },
      logFile: join(this.dir, 'minio.log'),
      removeOnDeath: this.dir,
    });
    this.child = child;
    const ready = async (): Promise<boolean> => (await fetch(`${this.endpoint}/minio/health/ready`)).ok;
    await until(async () => !child.running() || (await ready()), { what: 'minio', timeoutMs: startTimeoutMs });
    if (!child.running()) throw new Error(`minio ended at its start:\n${child.log()}`);
  }

  async createBucket(bucket: string): Promise<void> {
    const { endpoint, region } = this;
    const client = new S3Client({
      endpoint,
      region,
      forcePathStyle: true,
      credentials: { accessKeyId, secretAccessKey },
    });
    try {
      await client.send(new CreateBucketCommand({ Bucket: bucket }));
    } finally {
      client.destroy();
    }
  }
}

/** Starts one, waits until it answers, and makes the bucket. */
export async function startMinio(options: MinioOptions = {}): Promise<MinioServer> {
  const dir = mkdtempSync(join(tmpdir(), 'penstock-minio-'));
  const server = new MinioServer(options.port ?? (await freePort()), dir, options.bucket ?? 'penstock');
  try {
    await server.start();
    await server.createBucket(server.bucket);
  } catch (error) {
    await server.stop();
    throw error;
  }
  return server;
}
