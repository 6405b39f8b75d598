// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { ANNOTATIONS } from '#crds/names.ts';
import { unitJob } from './job.ts';
import { isFinished, observeUnit } from './observe.ts';
import type { ContainerState, ContainerStatus, Job, JobCondition, Pod } from './objects.ts';
import { PLAN_CASES, SETTINGS } from './testing.ts';
import type { UnitObservation } from './unit-driver.ts';

const AT = '2026-11-21T12:00:00Z';
const LATER = '2026-11-21T12:00:30Z';
const ms = (text: string): number => Date.parse(text);

function aJob(status: Job['status'] = {}, metadata: Partial<Job['metadata']> = {}): Job {
  const { plan, placement } = PLAN_CASES['sidecar-everything']!;
  const job = unitJob(plan, placement, SETTINGS);
  return { ...job, status, metadata: { ...job.metadata, creationTimestamp: AT, uid: 'job-uid', ...metadata } };
}

const isTrue = (type: string, message?: string): JobCondition => ({
  type,
  status: 'True',
  lastTransitionTime: LATER,
  ...(message === undefined ? {} : { message }),
});

function aPod(status: Pod['status'], created = AT): Pod {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'pod', namespace: 'team', creationTimestamp: created },
    status: status ?? {},
  };
}

function container(name: string, state: ContainerState, more: Partial<ContainerStatus> = {}): ContainerStatus {
  return { name, ready: false, restartCount: 0, state, ...more };
}

const scheduled = isTrue('PodScheduled');

/** As the API server of a real cluster gives them (trimmed). */
const CASES: Record<string, { job: Job; pods?: readonly Pod[]; want: Partial<UnitObservation> }> = {
  'a Job without a pod is starting and waits for a node': {
    job: aJob(),
    want: { phase: 'Starting', ready: 0, retired: false, leaving: false, createdAt: ms(AT) },
  },
  'a pod that fits on no node says why': {
    job: aJob({ active: 1, ready: 0 }),
    pods: [
      aPod({
        phase: 'Pending',
        conditions: [
          {
            type: 'PodScheduled',
            status: 'False',
            reason: 'Unschedulable',
            message: '0/1 nodes are available: 1 Insufficient nvidia.com/gpu.',
          },
        ],
      }),
    ],
    want: {
      phase: 'Starting',
      trouble: 'Unschedulable',
      message: '0/1 nodes are available: 1 Insufficient nvidia.com/gpu.',
    },
  },
  'a pod that pulls its image has a node and no trouble': {
    job: aJob({ active: 1, ready: 0 }),
    pods: [
      aPod({
        phase: 'Pending',
        conditions: [scheduled],
        containerStatuses: [container('worker', { waiting: { reason: 'PodInitializing' } })],
      }),
    ],
    want: { phase: 'Starting', scheduledAt: ms(LATER) },
  },
  'an image that can not be pulled is named': {
    job: aJob({ active: 1, ready: 0 }),
    pods: [
      aPod({
        conditions: [scheduled],
        initContainerStatuses: [
          container('server', { waiting: { reason: 'ImagePullBackOff', message: 'Back-off pulling image "x:1"' } }),
        ],
      }),
    ],
    want: {
      phase: 'Starting',
      trouble: 'ImagePull',
      message: 'container server: ImagePullBackOff: Back-off pulling image "x:1"',
    },
  },
  'an image that is not on the node and may not be pulled is the same trouble': {
    job: aJob({ active: 1 }),
    pods: [
      aPod({
        conditions: [scheduled],
        containerStatuses: [container('worker', { waiting: { reason: 'ErrImageNeverPull' } })],
      }),
    ],
    want: { trouble: 'ImagePull', message: 'container worker: ErrImageNeverPull' },
  },
  'a missing Secret of the app is a trouble of configuration': {
    job: aJob({ active: 1 }),
    pods: [
      aPod({
        conditions: [scheduled],
        containerStatuses: [
          container('worker', {
            waiting: { reason: 'CreateContainerConfigError', message: 'secret "keys" not found' },
          }),
        ],
      }),
    ],
    want: { trouble: 'Config', message: 'container worker: CreateContainerConfigError: secret "keys" not found' },
  },
  'a model server that crashes again and again tells its exit code': {
    job: aJob({ active: 1 }),
    pods: [
      aPod({
        startTime: AT,
        conditions: [scheduled],
        initContainerStatuses: [
          container(
            'server',
            { waiting: { reason: 'CrashLoopBackOff' } },
            { restartCount: 3, lastState: { terminated: { exitCode: 1, reason: 'Error' } } },
          ),
        ],
      }),
    ],
    want: {
      trouble: 'Config',
      message: 'container server exited with code 1, and is restarted (CrashLoopBackOff)',
      startedAt: ms(AT),
    },
  },
  'a model server that loads has started, and is not ready': {
    job: aJob({ active: 1, ready: 0 }),
    pods: [
      aPod({
        conditions: [scheduled],
        initContainerStatuses: [container('server', { running: { startedAt: LATER } })],
      }),
    ],
    want: { phase: 'Starting', startedAt: ms(LATER), ready: 0 },
  },
  'a ready pod is believed before the Job says so': {
    job: aJob({ active: 1, ready: 0 }),
    pods: [aPod({ phase: 'Running', conditions: [scheduled, isTrue('Ready')] })],
    want: { phase: 'Running', ready: 1 },
  },
  'a ready Job is believed before its pod is seen, and has a node': {
    job: aJob({ active: 1, ready: 1 }),
    want: { phase: 'Running', ready: 1, scheduledAt: ms(AT) },
  },
  'a complete Job has succeeded, whatever its pod still says': {
    job: aJob({ succeeded: 1, ready: 1, conditions: [isTrue('SuccessCriteriaMet'), isTrue('Complete')] }),
    pods: [aPod({ conditions: [scheduled, isTrue('Ready')] })],
    want: { phase: 'Succeeded', ready: 0 },
  },
  'a Job that is about to fail still runs: its pod may hold a request': {
    job: aJob({ active: 1, ready: 1, conditions: [isTrue('FailureTarget', 'Job has reached the backoff limit')] }),
    want: { phase: 'Running', ready: 1 },
  },
  'a worker that was killed tells its exit code': {
    job: aJob({ failed: 1, conditions: [isTrue('Failed', 'Job has reached the specified backoff limit')] }),
    pods: [
      aPod({
        phase: 'Failed',
        containerStatuses: [container('worker', { terminated: { exitCode: 137, reason: 'OOMKilled' } })],
      }),
    ],
    want: { phase: 'Failed', message: 'container worker exited with code 137 (OOMKilled)' },
  },
  'a handler that does not load tells its last words, cut': {
    job: aJob({ failed: 1, conditions: [isTrue('Failed')] }),
    pods: [
      aPod({
        containerStatuses: [
          container('worker', {
            terminated: { exitCode: 3, reason: 'Error', message: `load failed: ${'x'.repeat(5000)}` },
          }),
        ],
      }),
    ],
    want: {
      phase: 'Failed',
      message: expect.stringMatching(/^container worker exited with code 3: load failed: x{200,}…$/) as string,
    },
  },
  'an evicted pod tells the reason of the node': {
    job: aJob({ failed: 1, conditions: [isTrue('Failed', 'Job has reached the specified backoff limit')] }),
    pods: [aPod({ phase: 'Failed', reason: 'Evicted', message: 'The node was low on resource: memory.' })],
    want: { phase: 'Failed', message: 'Evicted: The node was low on resource: memory.' },
  },
  'a failed Job whose pod is gone tells its own reason': {
    job: aJob({ failed: 1, conditions: [isTrue('Failed', 'Job has reached the specified backoff limit')] }),
    want: { phase: 'Failed', message: 'Job has reached the specified backoff limit' },
  },
  'of several pods the newest counts': {
    job: aJob({ active: 1 }),
    pods: [
      aPod(
        { conditions: [scheduled], containerStatuses: [container('worker', { waiting: { reason: 'ErrImagePull' } })] },
        AT,
      ),
      aPod({ conditions: [scheduled] }, LATER),
    ],
    want: { phase: 'Starting', scheduledAt: ms(LATER) },
  },
  'the annotation says that the gateway has retired it': {
    job: aJob({ active: 1 }, { annotations: { [ANNOTATIONS.retired]: AT } }),
    want: { retired: true, leaving: false },
  },
  'a Job that is being deleted is leaving': {
    job: aJob({ active: 1 }, { deletionTimestamp: LATER }),
    want: { leaving: true },
  },
};

describe('observeUnit', () => {
  it.each(Object.entries(CASES))('%s', (_name, { job, pods = [], want }) => {
    const got = observeUnit(job, pods);
    expect(got).toMatchObject(want);
    expect(got.trouble).toBe(want.trouble);
  });

  it('reads identity from labels', () => {
    expect(observeUnit(aJob(), [])).toMatchObject({
      unit: 'ocr-0123456789b',
      revision: '0123456789abcdef',
      placement: 'pool',
    });
  });
});

describe('a unit that asked for a slice', () => {
  const { plan, placement } = PLAN_CASES['handler-shared-gpu']!;
  const job = unitJob(plan, placement, SETTINGS);
  const annotated = (annotations: Record<string, string>): Pod => {
    const pod = aPod({});
    return { ...pod, metadata: { ...pod.metadata, annotations } };
  };

  it.each<[string, Job, Pod[], true | undefined]>([
    ['has whole GPUs when nobody sliced its pod', job, [aPod({})], true],
    ['has whole GPUs when nobody could', job, [annotated({ 'penstock.dev/slice': 'true' })], true],
    ['has its slice when the record says so', job, [annotated({ 'penstock.dev/sliced': '{}' })], undefined],
    ['says nothing before its pod is there', job, [], undefined],
    ['is not one that asked for none', aJob(), [aPod({})], undefined],
  ])('%s', (_what, of, pods, whole) => {
    expect(observeUnit(of, pods).whole).toBe(whole);
  });
});

describe('isFinished', () => {
  it.each([
    ['Complete', true],
    ['Failed', true],
    ['FailureTarget', false],
    ['SuccessCriteriaMet', false],
    ['Suspended', false],
  ])('says of condition %s: %s', (type, want) => {
    expect(isFinished(aJob({ conditions: [isTrue(type)] }))).toBe(want);
  });
});
