// SPDX-License-Identifier: Apache-2.0
import { ListObjectsV2Command, S3Client } from '@aws-sdk/client-s3';
import { describe, expect, test } from 'vitest';
import { until } from '#test/until.ts';
import { APPS, SYSTEM, type Installation } from './installation.ts';

const app = 'upper-case';

/** Deleting an app while a unit serves it. */
export function deletionSuite(penstock: () => Installation): void {
  describe('an app that is deleted', () => {
    test('leaves no Job, pod, Secret, key or object behind', async () => {
      const { cluster, client, list } = penstock();
      const uid = await cluster.kube('-n', APPS, 'get', 'iapp', app, '-o', 'jsonpath={.metadata.uid}');
      const selector = `penstock.dev/app-uid=${uid}`;
      const kinds = ['jobs', 'pods', 'secrets'];
      // An idle unit that would stay for ten minutes is not waited for.
      const patch = JSON.stringify({ spec: { scaling: { idleLinger: { policy: 'Fixed', seconds: 600 } } } });
      await cluster.kube('-n', APPS, 'patch', 'iapp', app, '--type=merge', '-p', patch);
      const body = 'deleted soon '.repeat(10_000);
      const served = await client.infer(app, body, { waitSeconds: 30 });
      expect(served.status).toBe(200);
      // Everything is there once, or finding nothing afterwards would say nothing.
      const before = await Promise.all(kinds.map(async (kind) => (await list(kind, selector)).length));
      expect(before).toEqual([1, 1, 1]);
      const s3 = await bucket(penstock());
      expect((await objectsOf(s3, uid)).length).toBeGreaterThanOrEqual(2);
      expect((await keysOf(penstock(), uid)).length).toBeGreaterThan(1);

      await cluster.kube('-n', APPS, 'delete', 'iapp', app, '--timeout=100s');
      // Pods and Secrets go with their Job: by the garbage collector, in its own time.
      const left = async (): Promise<unknown[]> =>
        (await Promise.all(kinds.map((kind) => list(kind, selector)))).flat();
      await until(async () => (await left()).length === 0, { what: 'the garbage collector', timeoutMs: 30_000 });
      expect(await objectsOf(s3, uid)).toEqual([]);
      s3.destroy();
      // One mark stays for a week, so that a gateway which has not heard of the deletion accepts nothing; it goes by itself.
      const keys = await keysOf(penstock(), uid);
      expect(keys).toEqual([`penstock:{${uid}}:m`]);
      expect(Number(await redis(penstock(), 'ttl', keys[0]!))).toBeGreaterThan(0);
      expect(await redis(penstock(), 'smembers', 'penstock:apps')).not.toContain(uid);
      expect((await client.infer(app, body)).status).toBe(404);
    });

    test('leaves nothing to an app of the same name that is made after it', async () => {
      const { cluster, client, applyFile } = penstock();
      await applyFile('config/samples/sidecar-app.yaml');
      await cluster.kube('-n', APPS, 'wait', '--for=condition=Ready', `iapp/${app}`, '--timeout=30s');
      // The same body as before: it was answered once, and is new work now.
      const answer = await client.infer(app, 'deleted soon '.repeat(10_000));
      expect(answer.status).toBe(202);
      await cluster.kube('-n', APPS, 'delete', 'iapp', app, '--timeout=100s');
    });
  });
}

async function bucket({ cluster }: Installation): Promise<S3Client> {
  const address = await cluster.kube('-n', SYSTEM, 'get', 'service/penstock-minio', '-o', 'jsonpath={.spec.clusterIP}');
  return new S3Client({
    endpoint: `http://${address}:9000`,
    region: 'us-east-1',
    forcePathStyle: true,
    credentials: { accessKeyId: 'penstock-local', secretAccessKey: 'local-only-minio' },
  });
}

async function objectsOf(s3: S3Client, uid: string): Promise<string[]> {
  const { Contents = [], IsTruncated } = await s3.send(new ListObjectsV2Command({ Bucket: 'penstock' }));
  expect(IsTruncated).toBe(false);
  return Contents.map(({ Key = '' }) => Key).filter((key) => key.includes(uid));
}

async function redis({ cluster }: Installation, ...args: string[]): Promise<string> {
  return await cluster.kube('-n', SYSTEM, 'exec', 'penstock-redis-0', '--', 'redis-cli', ...args);
}

async function keysOf(penstock: Installation, uid: string): Promise<string[]> {
  return (await redis(penstock, '--scan', '--pattern', `*${uid}*`)).split('\n').filter((key) => key !== '');
}
