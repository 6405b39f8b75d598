// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { until } from '#test/until.ts';
import { podsOf } from './containers.ts';
import { APPS, type Installation } from './installation.ts';
import { SHARED } from './shared-gpu.ts';

const names = ['left-half', 'right-half'];
const REQUESTS = 20;

const app = (name: string): object => ({
  apiVersion: 'penstock.dev/v1alpha1',
  kind: 'InferenceApp',
  metadata: { name },
  spec: {
    worker: {
      archetype: 'Handler',
      image: 'penstock/sample-handler:dev',
      handler: 'handlers/slow-echo.ts',
      env: [{ name: 'PAUSE_MS', value: '100' }],
    },
    resources: { gpu: { count: 1, slice: { mode: 'Shared', slots: 2 } }, memory: '256Mi' },
    scaling: { maxUnits: 1, concurrency: 4, idleLinger: { policy: 'Fixed', seconds: 5 } },
  },
});

interface UnitPod {
  readonly metadata: { readonly name: string; readonly annotations?: Readonly<Record<string, string>> };
  readonly spec: {
    readonly containers: readonly { readonly resources?: { readonly limits?: Record<string, string> } }[];
  };
  readonly status: { readonly phase: string };
}

export function sharedAppsSuite(penstock: () => Installation): void {
  describe('two apps with slice mode Shared', () => {
    test('share the one GPU while both answer requests, without an annotation of the user', async () => {
      const { cluster, client, apply, applyFile } = penstock();
      await applyFile('config/samples/placement.yaml');
      for (const name of names) apply(app(name));
      for (const name of names)
        await cluster.kube('-n', APPS, 'wait', '--for=condition=Ready', `iapp/${name}`, '--timeout=30s');
      const bodies = Array.from({ length: REQUESTS }, (_, i) => `request ${i}`);
      const asked = names.flatMap((name) =>
        bodies.map(async (body) => {
          const { status, body: answer } = await client.inferToEnd(name, body, `${name}-${body.replace(' ', '-')}`);
          return [name, status, answer.toString()];
        }),
      );
      // Both units at once on a node with one card.
      const bothRun = until(
        async () => {
          const pods = (await Promise.all(names.map((name) => unitsOf(penstock(), name)))).flat();
          const running = pods.filter(({ status }) => status.phase === 'Running');
          return running.length === names.length && running;
        },
        { what: 'both units to run', timeoutMs: 60_000 },
      );
      const [units, answers] = await Promise.all([bothRun, Promise.all(asked)]);
      for (const { spec, metadata } of units) {
        expect(spec.containers[0]?.resources?.limits).toMatchObject({ [SHARED]: '2' });
        expect(spec.containers[0]?.resources?.limits).not.toHaveProperty('nvidia.com/gpu');
        expect(metadata.annotations?.['penstock.dev/slice-status']).toMatch(/2 of 4/);
      }
      expect(answers).toEqual(names.flatMap((name) => bodies.map((body) => [name, 200, body])));
      for (const name of names) await cluster.kube('-n', APPS, 'delete', 'iapp', name, '--timeout=60s');
    });
  });
}

async function unitsOf({ cluster }: Installation, name: string): Promise<UnitPod[]> {
  return (await podsOf(cluster, APPS, `penstock.dev/app=${name}`)) as unknown as UnitPod[];
}
