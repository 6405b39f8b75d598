// SPDX-License-Identifier: Apache-2.0
// Vitest's global set-up for the projects `conformance` and `integration`: real servers on free loopback ports.
import type { TestProject } from 'vitest/node';
import { startApiServer } from './apiserver.ts';
import { startMinio } from './minio.ts';
import { startRedis } from './redis.ts';
import './servers.ts';

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const started: { stop(): Promise<void> }[] = [];
  const keep = async <T extends { stop(): Promise<void> }>(starting: Promise<T>): Promise<T> => {
    const server = await starting;
    started.push(server);
    return server;
  };
  const teardown = async (): Promise<void> => {
    await Promise.all(started.map((server) => server.stop()));
  };
  const starting = [
    keep(startRedis({ appendonly: true })),
    keep(startMinio()),
    project.name === 'integration' ? keep(startApiServer()) : Promise.resolve(undefined),
  ] as const;
  try {
    const [redis, s3, kube] = await Promise.all(starting);
    const { endpoint, region, bucket, accessKeyId, secretAccessKey } = s3;
    project.provide('servers', {
      redis: { url: redis.url, port: redis.port },
      s3: { endpoint, region, bucket, accessKeyId, secretAccessKey },
      ...(kube ? { kube: kube.address() } : {}),
    });
  } catch (error) {
    // One failed: the others may still be on their way up, and must not stay.
    await Promise.allSettled(starting);
    await teardown();
    throw error;
  }
  return teardown;
}
