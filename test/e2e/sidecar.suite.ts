// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { until } from '#test/until.ts';
import { podsOf } from './containers.ts';
import { APPS, type Installation } from './installation.ts';

const app = 'upper-case';
const selector = `penstock.dev/app=${app}`;

/** config/samples/sidecar-app.yaml: an HTTP server that knows nothing of Penstock. */
export function sidecarSuite(penstock: () => Installation): void {
  describe('the sidecar sample', () => {
    test('feeds an unmodified HTTP server, small and large, and ends its pod', async () => {
      const { cluster, client, applyFile, list } = penstock();
      await applyFile('config/samples/sidecar-app.yaml');
      await cluster.kube('-n', APPS, 'wait', '--for=condition=Ready', `iapp/${app}`, '--timeout=30s');
      const large = 'penstock '.repeat(100_000);
      const [small, big] = await Promise.all([
        client.infer(app, 'to be', { waitSeconds: 30, contentType: 'text/plain; charset=utf-8' }),
        client.infer(app, large, { waitSeconds: 30 }),
      ]);
      expect([small.status, small.headers.get('content-type'), small.body.toString()]).toEqual([
        200,
        'text/plain; charset=utf-8',
        'TO BE',
      ]);
      expect([big.status, big.body.equals(Buffer.from(large.toUpperCase()))]).toEqual([200, true]);

      // The model server never ends: the pod does, because it is a native sidecar beside the adapter.
      const [pod] = await podsOf(cluster, APPS, selector);
      expect(pod?.status.containerStatuses?.map(({ name }) => name)).toEqual(['worker']);
      await until(async () => (await list('jobs', selector)).length === 0, {
        what: 'the Job to be reaped',
        timeoutMs: 60_000,
      });
      expect(await podsOf(cluster, APPS, selector)).toEqual([]);
    });
  });
}
