// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { until } from '#test/until.ts';
import type { Client, Ended } from './client.ts';
import { isRunning, killContainer, podsOf, type PodStatus } from './containers.ts';
import { APPS, SYSTEM, type Installation } from './installation.ts';
import { RunLog } from './run-log.ts';

const app = 'kills';
const REQUESTS = 200;
const CLIENTS = 20;
const manifest = {
  apiVersion: 'penstock.dev/v1alpha1',
  kind: 'InferenceApp',
  metadata: { name: app },
  spec: {
    worker: {
      archetype: 'Handler',
      image: 'penstock/sample-handler:dev',
      handler: 'handlers/slow-echo.ts',
      batchSize: 4,
      env: [
        { name: 'PAUSE_MS', value: '250' },
        { name: 'SIGN', value: 'yes' },
      ],
    },
    resources: { cpu: '100m', memory: '256Mi' },
    scaling: { maxUnits: 2, concurrency: 4, requestsPerUnit: 5, idleLinger: { policy: 'Fixed', seconds: 2 } },
  },
};

interface Kill {
  /** Requests that have been answered when it happens. */
  readonly at: number;
  readonly container: 'operator' | 'gateway' | 'redis' | 'worker';
  readonly namespace: string;
  readonly selector: string;
}

const system = (container: 'operator' | 'gateway' | 'redis', at: number): Kill => ({
  at,
  container,
  namespace: SYSTEM,
  selector: `app.kubernetes.io/name=penstock-${container}`,
});
const unit = (at: number): Kill => ({ at, container: 'worker', namespace: APPS, selector: `penstock.dev/app=${app}` });

/** Each replica of operator and gateway once (so the leader is among them), two units, and the queue itself, spread over the run. */
const KILLS: readonly Kill[] = [
  unit(20),
  system('gateway', 45),
  system('operator', 70),
  system('gateway', 95),
  unit(120),
  system('operator', 140),
  system('redis', 160),
];

/** DESIGN §10: kill anything, lose nothing. */
export function killsSuite(penstock: () => Installation): void {
  describe('kill -9 in the middle of 200 requests', () => {
    test('operators, gateways, units and Redis are killed, and every accepted request ends exactly once, as succeeded', async () => {
      const { cluster, client, apply } = penstock();
      apply(manifest);
      await cluster.kube('-n', APPS, 'wait', '--for=condition=Ready', `iapp/${app}`, '--timeout=30s');
      const witness = new RunLog(cluster, APPS, unit(0).selector);
      const ended = new Map<string, Ended>();
      const since = performance.now();
      const log: string[] = [];
      const keys = Array.from({ length: REQUESTS }, (_, i) => `key-${i}`).values();
      const one = async (): Promise<void> => {
        for (const key of keys) ended.set(key, await client.inferToEnd(app, `body of ${key}`, key));
      };
      const killer = async (): Promise<void> => {
        const killed = new Set<string>();
        for (const kill of KILLS) {
          await until(() => ended.size >= kill.at, { what: `${kill.at} answers`, timeoutMs: 120_000 });
          const pod = await victim(penstock(), kill, killed);
          await killContainer(cluster, pod, kill.container);
          killed.add(pod.metadata.name);
          const seconds = ((performance.now() - since) / 1000).toFixed(1);
          log.push(`${seconds} s, ${ended.size} answered: kill -9 ${kill.container} of ${pod.metadata.name}`);
        }
      };
      await Promise.all([killer(), ...Array.from({ length: CLIENTS }, one)]);
      const seconds = ((performance.now() - since) / 1000).toFixed(1);

      for (const [key, { status, body }] of ended)
        expect([key, status, body.toString().split('\n')[0]]).toEqual([key, 200, `body of ${key}`]);
      const tickets = [...ended.values()].map(({ ticket }) => ticket);
      expect(new Set(tickets).size).toBe(REQUESTS);
      const views = await Promise.all(tickets.map((ticket) => client.request(app, ticket)));
      for (const { state } of views) expect(state).toBe('succeeded');
      const lost = views.filter(({ attempts }) => attempts.length > 1).length;
      const repeats = [...ended.values()].reduce((sum, one) => sum + one.repeats, 0);
      console.log(
        [
          ...log,
          `${seconds} s: ${REQUESTS} requests succeeded once each; ${lost} were run again after a unit was lost, ${repeats} calls repeated`,
        ].join('\n'),
      );
      // A kill that met nothing would have shown nothing.
      expect(lost).toBeGreaterThan(0);
      expect(repeats).toBeGreaterThan(0);

      // The same keys again: each is the request it was, and nothing runs twice.
      for (const [key, one] of ended) await expectSameAgain(client, key, one);
      await until(async () => (await podsOf(cluster, APPS, unit(0).selector)).every(isOver), {
        what: 'the units to leave',
        timeoutMs: 60_000,
      });
      await witness.end();
      for (const [i, [key, { body }]] of [...ended].entries()) {
        const runs = witness.runs.get(`body of ${key}`) ?? [];
        const { attempts = [] } = views[i] ?? {};
        // The answer is that of one run, in the unit whose attempt the timeline calls the successful one.
        const answered = runs.filter(({ run }) => run === body.toString().split('\n')[1]);
        const unitName = attempts.find(({ outcome }) => outcome === 'succeeded')?.unit ?? 'no unit';
        expect([key, answered.map(({ pod }) => pod)]).toEqual([key, [expect.stringContaining(unitName)]]);
        // A lease may be lost before its run begins; no run is without one.
        expect([key, runs.length <= attempts.length]).toEqual([key, true]);
      }
      for (const workload of ['penstock-gateway', 'penstock-operator'])
        await cluster.kube('-n', SYSTEM, 'rollout', 'status', `deployment/${workload}`, '--timeout=100s');
      await cluster.kube('-n', APPS, 'delete', 'iapp', app, '--timeout=100s');
    });
  });
}

/** The same key again is the request that it was: its ticket, and the bytes of the one run that was answered, wherever one asks. */
async function expectSameAgain(client: Client, key: string, { ticket, body }: Ended): Promise<void> {
  const again = await client.infer(app, `body of ${key}`, { key });
  const status = await client.call('GET', `/v1/${app}/status/${ticket}`);
  const said = [again.status, again.headers.get('penstock-ticket'), again.body.toString(), status.body.toString()];
  expect([key, ...said]).toEqual([key, 200, ticket, body.toString(), body.toString()]);
}

/** A pod whose container runs now and was not killed before. */
async function victim({ cluster }: Installation, kill: Kill, killed: ReadonlySet<string>): Promise<PodStatus> {
  return await until(
    async () => {
      const pods = await podsOf(cluster, kill.namespace, kill.selector);
      return pods.find((pod) => isRunning(pod, kill.container) && !killed.has(pod.metadata.name));
    },
    { what: `a running ${kill.container}`, timeoutMs: 60_000, everyMs: 100 },
  );
}

function isOver(pod: PodStatus): boolean {
  return pod.status.phase === 'Succeeded' || pod.status.phase === 'Failed';
}
