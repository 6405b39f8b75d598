// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { request } from 'node:https';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { startApiServer, type ApiServer, type KubeAddress } from '#test/servers/apiserver.ts';
import { sharedKube } from '#test/servers/kube.ts';
import { startRedis } from '#test/servers/redis.ts';

/** GET with the admin's client certificate; the status and the parsed body. */
function get(
  kube: KubeAddress,
  path: string,
): Promise<{ status: number; body: { metadata?: { continue?: string; resourceVersion?: string } } }> {
  const tls = { ca: readFileSync(kube.caFile), cert: readFileSync(kube.certFile), key: readFileSync(kube.keyFile) };
  return new Promise((resolve, reject) => {
    request(kube.server + path, { ...tls, agent: false }, (answer) => {
      const parts: Buffer[] = [];
      answer.on('data', (part: Buffer) => parts.push(part));
      answer.on('end', () =>
        resolve({ status: answer.statusCode ?? 0, body: JSON.parse(Buffer.concat(parts).toString()) as object }),
      );
    })
      .on('error', reject)
      .end();
  });
}

test('the shared API server serves both CRDs', async () => {
  const answers = await Promise.all(
    ['inferenceapps', 'placements'].map((plural) => get(sharedKube(), `/apis/penstock.dev/v1alpha1/${plural}`)),
  );
  expect(answers.map((answer) => answer.status)).toEqual([200, 200]);
});

test('the shared S3 server is healthy and has its bucket', async () => {
  const { endpoint, bucket } = inject('servers').s3;
  expect((await fetch(`${endpoint}/minio/health/live`)).status).toBe(200);
  // Without credentials a bucket that exists is forbidden, one that does not is not found.
  expect((await fetch(`${endpoint}/${bucket}`)).status).toBe(403);
});

test('a Redis with appendonly keeps an acknowledged write through kill -9', async () => {
  const server = await startRedis({ appendonly: true, fsync: 'always' });
  const client = new Redis(server.url, { lazyConnect: true, retryStrategy: () => null });
  client.on('error', () => {}); // the kill closes its connection
  try {
    await client.set('key', 'kept');
    const before = server.pid;
    await server.kill9();
    expect(server.pid).toBeUndefined();
    await server.restart();
    expect(server.pid).not.toBe(before);
    await client.connect();
    expect(await client.get('key')).toBe('kept');
  } finally {
    client.disconnect();
    await server.stop();
  }
});

describe('an API server of a test’s own', () => {
  let kube: ApiServer;
  beforeAll(async () => {
    kube = await startApiServer({ crds: false });
  });
  afterAll(async () => {
    await kube?.stop();
  });

  test('runs beside the shared one', () => {
    expect(kube.server).not.toBe(sharedKube().server);
  });

  test('comes back after kill -9 on the same port with the same objects', async () => {
    await kube.kube('create', 'namespace', 'kept');
    const before = kube.pid;
    await kube.kill9();
    await expect(get(kube, '/readyz')).rejects.toThrow('ECONNREFUSED');
    await kube.restart();
    expect(kube.pid).not.toBe(before);
    expect((await get(kube, '/api/v1/namespaces/kept')).status).toBe(200);
  });

  test('answers 410 to a page token from before a compaction and a restart', async () => {
    const first = await get(kube, '/api/v1/namespaces?limit=1');
    const token = first.body.metadata?.continue ?? '';
    expect(token).not.toBe('');
    await kube.kube('create', 'namespace', 'later');
    await kube.compact();
    await kube.kill9();
    await kube.restart();
    const second = await get(kube, `/api/v1/namespaces?limit=1&continue=${encodeURIComponent(token)}`);
    expect(second.status).toBe(410);
  });
});

test('without its watch cache an API server answers 410 to a watch from before a compaction', async () => {
  const kube = await startApiServer({ crds: false, flags: ['--watch-cache=false'] });
  try {
    const first = await get(kube, '/api/v1/namespaces');
    const since = first.body.metadata?.resourceVersion ?? '';
    // Two: a watch that misses only the compacted revision itself would still be whole.
    await kube.kube('create', 'namespace', 'later');
    await kube.kube('create', 'namespace', 'latest');
    await kube.compact();
    const watch = await get(kube, `/api/v1/namespaces?watch=1&timeoutSeconds=5&resourceVersion=${since}`);
    expect(watch.body).toMatchObject({ type: 'ERROR', object: { code: 410 } });
  } finally {
    await kube.stop();
  }
});
