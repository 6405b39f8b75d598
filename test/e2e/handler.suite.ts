// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { until } from '#test/until.ts';
import { podsOf } from './containers.ts';
import { APPS, SYSTEM, type Installation } from './installation.ts';
import { Story } from './story.ts';

const app = 'word-count';
const selector = `penstock.dev/app=${app}`;
const text = 'to be or not to be';

/** config/samples/handler-app.yaml: from zero to a result and back to zero. */
export function handlerSuite(penstock: () => Installation): void {
  describe('the handler sample', () => {
    test('is Ready with no unit, Job or pod', async () => {
      const { cluster, applyFile, list } = penstock();
      await applyFile('config/samples/placement.yaml');
      await applyFile('config/samples/handler-app.yaml');
      await cluster.kube('-n', APPS, 'wait', '--for=condition=Ready', `iapp/${app}`, '--timeout=30s');
      expect(await list('jobs')).toEqual([]);
    });

    test('starts a pod from zero for a request, answers, ends by itself, and kubectl get iapp tells the story', async () => {
      const { cluster, client, list } = penstock();
      const story = new Story(cluster, app);
      try {
        await until(() => story.rows().length > 0, { what: 'kubectl to watch' });
        const since = performance.now();
        const answer = await client.infer(app, text, { waitSeconds: 30 });
        const seconds = ((performance.now() - since) / 1000).toFixed(1);
        expect([answer.status, answer.headers.get('penstock-state')]).toEqual([200, 'succeeded']);
        expect(JSON.parse(answer.body.toString())).toEqual({ words: 6, different: 4, characters: text.length });

        const [pod] = await podsOf(cluster, APPS, selector);
        expect(pod?.status.phase).toBe('Running');
        // Nothing in a unit can talk to the API server: no account's token is mounted.
        const mounted = (pod?.spec.volumes ?? []).filter((volume) => 'projected' in volume);
        expect([pod?.spec.automountServiceAccountToken, mounted]).toEqual([false, []]);

        await until(async () => (await list('jobs', selector)).length === 0, {
          what: 'the Job to be reaped',
          timeoutMs: 60_000,
        });
        expect(await podsOf(cluster, APPS, selector)).toEqual([]);
        await until(() => idleAgain(story), { what: 'the columns to say idle again', timeoutMs: 30_000 });
        console.log(`${app}: ${seconds} s from zero to the result\n${story.told()}`);
        const rows = story.rows();
        expect(rows).toContainEqual(
          expect.objectContaining({ PHASE: 'Scaling', STARTING: '1', READY: '0', QUEUED: '1' }),
        );
        expect(rows).toContainEqual(
          expect.objectContaining({ PHASE: 'Ready', STARTING: '0', READY: '1', QUEUED: '0' }),
        );
        expect(rows.at(-1)).toMatchObject({
          PHASE: 'Ready',
          STARTING: '0',
          READY: '0',
          QUEUED: '0',
          PLACEMENT: 'default',
        });
      } finally {
        await story.end();
      }
    });

    test('answers the same request again at once, without a unit', async () => {
      const { client, list } = penstock();
      const answer = await client.infer(app, text);
      expect([answer.status, answer.headers.get('penstock-attempts')]).toEqual([200, '1']);
      expect(await list('jobs', selector)).toEqual([]);
    });

    test('fails a bad input with its cause', async () => {
      const { client } = penstock();
      const answer = await client.infer(app, '{"words": 1}', { contentType: 'application/json', waitSeconds: 30 });
      expect([answer.status, answer.headers.get('content-type')]).toEqual([422, 'application/problem+json']);
      expect(answer.body.toString()).toContain('the body must be a text');
    });

    test('leaves Events of each step', async () => {
      const { cluster } = penstock();
      const path = 'jsonpath={range .items[*]}{.reason} {end}';
      const said = await cluster.kube(
        '-n',
        APPS,
        'get',
        'events',
        '--field-selector',
        `involvedObject.name=${app}`,
        '-o',
        path,
      );
      expect(said.split(' ')).toEqual(expect.arrayContaining(['UnitCreated', 'UnitReady', 'UnitReaped']));
    });

    test('is refused without a key, and to a key that nobody knows', async () => {
      const { client } = penstock();
      const strange = await client.call('POST', `/v1/${app}/infer`, { 'x-api-key': 'guessed' }, text);
      const none = await fetch(`${client.url}/v1/${app}/infer`, { method: 'POST', body: text });
      expect([strange.status, none.status]).toEqual([401, 401]);
    });
  });

  test('no container of the system has ended by itself', async () => {
    const pods = await podsOf(penstock().cluster, SYSTEM, 'app.kubernetes.io/part-of=penstock');
    const restarts = pods.flatMap(({ metadata, status }) =>
      (status.containerStatuses ?? []).map(({ restartCount }) => `${metadata.name.replace(/-.*/, '')} ${restartCount}`),
    );
    expect(new Set(restarts)).toEqual(new Set(['penstock 0']));
  });
}

function idleAgain(story: Story): boolean {
  const rows = story.rows();
  const { PHASE, READY, STARTING } = rows.at(-1) ?? {};
  return rows.some((row) => row['READY'] === '1') && PHASE === 'Ready' && READY === '0' && STARTING === '0';
}
