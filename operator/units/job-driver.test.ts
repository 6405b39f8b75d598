// SPDX-License-Identifier: Apache-2.0
import { expect, it } from 'vitest';
import { systemClock } from '#base/clock.ts';
import { silentLogger } from '#base/logger.ts';
import { createRegistry } from '#base/metrics.ts';
import { ObjectCache } from '#kube/cache.ts';
import type { KubeClient } from '#kube/client.ts';
import { KubeError } from '#kube/errors.ts';
import { createKubeMetrics } from '#kube/kube-metrics.ts';
import type { KubeObject } from '#kube/types.ts';
import { JobDriver, jobIndex, podIndex } from './job-driver.ts';
import { unitJob } from './job.ts';
import type { Job, Pod } from './objects.ts';
import { PLAN_CASES, SETTINGS } from './testing.ts';
import { UnitSecrets } from './unit-secrets.ts';

const { plan, placement } = PLAN_CASES['handler-plain']!;

function aJob(unit: string, status: Job['status'] = {}): Job {
  const job = unitJob({ ...plan, unit }, placement, SETTINGS);
  const creationTimestamp = new Date().toISOString();
  return { ...job, metadata: { ...job.metadata, uid: `uid-${unit}`, resourceVersion: '1', creationTimestamp }, status };
}

/** Takes every create, unless `refuse` has a reason for the name. */
function aDriver(jobs: readonly Job[], refuse: Map<string, string>): { driver: JobDriver; made: string[] } {
  const metrics = createKubeMetrics(createRegistry('test', false));
  const cacheOf = <T extends KubeObject>(name: string, index: (object: T) => string[]): ObjectCache<T> =>
    new ObjectCache<T>({ name, index, logger: silentLogger, metrics });
  const cache = cacheOf<Job>('jobs', jobIndex);
  for (const job of jobs) cache.put(job);
  const made: string[] = [];
  const create = <T extends KubeObject>(_resource: unknown, object: T): Promise<T> => {
    const reason = refuse.get(object.metadata.name);
    if (reason !== undefined) return Promise.reject(new KubeError(reason, { status: 403, reason: 'Forbidden' }));
    made.push(object.metadata.name);
    return Promise.resolve(object);
  };
  const client = { create } as unknown as KubeClient;
  const signer = () => Promise.resolve({ kid: 'key', sign: () => Promise.resolve('token') });
  const driver = new JobDriver({
    client,
    jobs: cache,
    pods: cacheOf<Pod>('pods', podIndex),
    secrets: new UnitSecrets({ client, signer, clock: systemClock }),
    settings: SETTINGS,
    placement: () => placement,
    clock: systemClock,
    logger: silentLogger,
  });
  return { driver, made };
}

it('shows a refused Secret as trouble of its unit alone, and makes it when it is no longer refused', async () => {
  const refuse = new Map([['a', 'secrets "a" is forbidden: exceeded quota: secrets']]);
  const { driver, made } = aDriver([aJob('a'), aJob('b')], refuse);
  const before = await driver.observe(plan.appUid, 'team');
  expect(before).toMatchObject([
    { unit: 'a', phase: 'Starting', trouble: 'Config', retryAfterMs: 10_000 },
    { unit: 'b', phase: 'Starting' },
  ]);
  expect(before[0]?.message).toBe('its Secret could not be made: secrets "a" is forbidden: exceeded quota: secrets');
  expect(before[1]).not.toHaveProperty('trouble');
  expect(before[1]).not.toHaveProperty('retryAfterMs');
  expect(made).toEqual(['b']);
  refuse.clear();
  expect((await driver.observe(plan.appUid, 'team'))[0]).not.toHaveProperty('trouble');
  expect(made).toEqual(['b', 'a']);
});

it('leaves a unit that runs without trouble when the renewal of its token is refused', async () => {
  const { driver } = aDriver([aJob('a', { ready: 1 })], new Map([['a', 'the namespace is terminating']]));
  const [unit] = await driver.observe(plan.appUid, 'team');
  expect(unit).toMatchObject({ unit: 'a', phase: 'Running', retryAfterMs: 10_000 });
  expect(unit).not.toHaveProperty('trouble');
});
