// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { until } from '#test/until.ts';
import { podsOf } from './containers.ts';
import { APPS, type Installation } from './installation.ts';
import { ticketOf } from './client.ts';

const app = 'on-a-gpu';
const selector = `penstock.dev/app=${app}`;
const manifest = {
  apiVersion: 'penstock.dev/v1alpha1',
  kind: 'InferenceApp',
  metadata: { name: app },
  spec: {
    worker: {
      archetype: 'Handler',
      image: 'penstock/sample-handler:dev',
      handler: 'handlers/slow-echo.ts',
      env: [{ name: 'PAUSE_MS', value: '1' }],
    },
    resources: { gpu: { count: 1 }, memory: '256Mi' },
    scaling: { maxUnits: 1, idleLinger: { policy: 'Fixed', seconds: 1 } },
  },
};

/** The request for a GPU is the scheduler's business: a burst waits, it is never an error. */
export function gpuSuite(penstock: () => Installation): void {
  describe('an app that asks for a GPU', () => {
    test('waits while the node has none, says why, and runs as soon as there is one', async () => {
      const { cluster, client, apply, list } = penstock();
      apply(manifest);
      await cluster.kube('-n', APPS, 'wait', '--for=condition=Ready', `iapp/${app}`, '--timeout=30s');
      const accepted = await client.infer(app, 'a model');
      expect(accepted.status).toBe(202);
      const ticket = ticketOf(accepted);

      const phase = (): Promise<string> =>
        cluster.kube('-n', APPS, 'get', 'iapp', app, '-o', 'jsonpath={.status.phase}: {.status.reason}');
      const held = await until(
        async () => {
          const said = await phase();
          return said.startsWith('Held: ') && said;
        },
        { what: 'the app to be Held', timeoutMs: 60_000 },
      );
      expect(held).toMatch(/nvidia\.com\/gpu/);
      console.log(`${await cluster.kube('-n', APPS, 'get', 'iapp', app)}${held}`);
      const [pod] = await podsOf(cluster, APPS, selector);
      expect(pod?.status.phase).toBe('Pending');

      await cluster.cluster('gpus', '1');
      const result = await client.call('GET', `/v1/${app}/status/${ticket}`, { prefer: 'wait=40' });
      expect([result.status, result.body.toString()]).toEqual([200, 'a model']);
      await until(async () => (await list('jobs', selector)).length === 0, {
        what: 'the Job to be reaped',
        timeoutMs: 60_000,
      });
      await cluster.kube('-n', APPS, 'delete', 'iapp', app, '--timeout=60s');
    });
  });
}
