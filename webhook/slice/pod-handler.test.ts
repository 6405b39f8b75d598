// SPDX-License-Identifier: Apache-2.0
import { applyPatch } from 'fast-json-patch';
import { describe, expect, it } from 'vitest';
import type { AdmissionRequest } from '../admission/types.ts';
import type { SliceContext, SliceDeps, SliceEvent, SliceReport } from './context.ts';
import { contextOf, GIB, gpuNode, settings, SHARED, slicedPod } from './fixtures.ts';
import type { Pod } from './pod.ts';
import { createEphemeralHandler, createPodHandler } from './pod-handler.ts';

function handlers(given: SliceContext = contextOf([gpuNode('big')]), changes: Partial<SliceDeps> = {}) {
  const reports: SliceReport[] = [];
  const events: SliceEvent[] = [];
  const asked: unknown[] = [];
  const deps: SliceDeps = {
    inventory: () => given.inventory,
    policy: (pod) => {
      asked.push(pod);
      return given.policy;
    },
    delivery: (namespace) => {
      asked.push(namespace);
      return given.delivery;
    },
    policyUnread: () => false,
    settings: () => settings,
    report: (report) => reports.push(report),
    emit: (event) => events.push(event),
    ...changes,
  };
  const signal = new AbortController().signal;
  const review = (pod: unknown, request: Partial<AdmissionRequest> = {}) =>
    createPodHandler(deps)(requestFor(pod, request), signal);
  const debug = (pod: unknown, old: unknown) =>
    createEphemeralHandler(deps)(
      requestFor(pod, {
        operation: 'UPDATE',
        subResource: 'ephemeralcontainers',
        oldObject: old as Record<string, unknown>,
      }),
      signal,
    );
  return { reports, events, asked, review, debug };
}

function requestFor(pod: unknown, changes: Partial<AdmissionRequest>): AdmissionRequest {
  return {
    uid: 'u',
    kind: { group: '', version: 'v1', kind: 'Pod' },
    resource: { group: '', version: 'v1', resource: 'pods' },
    namespace: 'team',
    operation: 'CREATE',
    userInfo: {},
    object: pod as Record<string, unknown>,
    dryRun: false,
    ...changes,
  };
}

const unserved = slicedPod({ 'penstock.dev/slice-ratio': '4' });
const owned = (pod: Pod): Pod => ({
  ...pod,
  metadata: {
    ...pod.metadata,
    ownerReferences: [
      { apiVersion: 'v1', kind: 'Other', name: 'x', uid: '0' },
      { apiVersion: 'apps/v1', kind: 'ReplicaSet', name: 'web-5d', uid: '1', controller: true },
    ],
  },
});

describe('a review of a pod', () => {
  it('is answered with a patch and reported', async () => {
    const { review, reports, events, asked } = handlers();
    const pod = slicedPod({ 'penstock.dev/workload-type': 'batch' });
    const verdict = await review({ ...pod, metadata: { ...pod.metadata, labels: { a: 'b' } } });
    expect(verdict.refusal).toBeUndefined();
    expect(verdict.patch?.length).toBeGreaterThan(5);
    expect(verdict.warnings).toHaveLength(1);
    expect(asked).toEqual([{ namespace: 'team', labels: { a: 'b' } }, 'team']);
    expect(events).toEqual([]);
    expect(reports).toEqual([
      {
        namespace: 'team',
        pod: 'pod',
        outcome: 'mutated',
        workloadType: 'batch',
        gpusSaved: 0.5,
        slices: [{ container: 'main', resource: SHARED, units: 2, quota: 40 * GIB }],
        requestDryRun: false,
      },
    ]);
  });

  it('is refused with causes when an annotation is wrong', async () => {
    const { review, reports } = handlers();
    const verdict = await review(slicedPod({ 'penstock.dev/slice-ratio': '0' }));
    expect(verdict).toEqual({
      refusal: {
        code: 422,
        message:
          'metadata.annotations[penstock.dev/slice-ratio]: is "0", must be a whole number from 1 to 64: the slots to be had',
        causes: [expect.objectContaining({ field: 'metadata.annotations[penstock.dev/slice-ratio]' })],
      },
    });
    expect(reports).toMatchObject([{ outcome: 'refused' }]);
  });

  it('that keeps its whole GPUs is warned about, and an Event tells its controller', async () => {
    const { review, events, reports } = handlers();
    const why = 'main: 4 of 4 slots are a whole GPU of node big';
    const verdict = await review({
      ...owned(unserved),
      metadata: { ...owned(unserved).metadata, name: undefined, generateName: 'web-5d-' },
    });
    expect(verdict).toEqual({
      warnings: [`penstock: not sliced, keeps its whole GPUs: ${why}`],
      patch: [
        {
          op: 'add',
          path: '/metadata/annotations/penstock.dev~1slice-status',
          value: `not sliced, keeps its whole GPUs: ${why}`,
        },
      ],
    });
    expect(reports).toMatchObject([{ pod: 'web-5d-*', outcome: 'noop', reason: 'no-node' }]);
    expect(events).toEqual([
      {
        regarding: { apiVersion: 'apps/v1', kind: 'ReplicaSet', namespace: 'team', name: 'web-5d', uid: '1' },
        type: 'Warning',
        reason: 'NotSliced',
        message: `web-5d-* keeps its whole GPUs: ${why}`,
      },
    ]);
  });

  it('that is made whole again is warned about, and an Event tells so', async () => {
    const first = await handlers().review(slicedPod());
    const copy = applyPatch(structuredClone(slicedPod()), structuredClone([...(first.patch ?? [])])).newDocument;
    const { review, events, reports } = handlers(contextOf([]));
    const verdict = await review(copy);
    expect(verdict.patch?.length).toBeGreaterThan(5);
    expect(verdict.warnings).toEqual([expect.stringContaining('the pod has its whole GPUs again')]);
    expect(reports).toMatchObject([{ outcome: 'noop', reason: 'no-target', restored: true }]);
    expect(events).toMatchObject([
      { reason: 'NotSliced', message: 'pod has its whole GPUs again: it may land on no node with a GPU' },
    ]);
  });

  it('without a controller has its Event on itself', async () => {
    const { review, events } = handlers();
    await review(unserved, { name: 'pod' });
    expect(events[0]?.regarding).toEqual({ apiVersion: 'v1', kind: 'Pod', namespace: 'team', name: 'pod' });
  });

  it('for a dry run of the request writes no Event', async () => {
    const { review, events, reports } = handlers();
    await review(unserved, { dryRun: true });
    expect(events).toEqual([]);
    expect(reports).toMatchObject([{ requestDryRun: true }]);
  });

  it('other than of a creation says nothing', async () => {
    const { review, reports } = handlers();
    expect(await review(slicedPod(), { operation: 'UPDATE' })).toEqual({});
    expect(await review(undefined, { operation: 'DELETE' })).toEqual({});
    expect(reports).toEqual([]);
  });

  it.each<[string, unknown]>([
    ['no metadata', { spec: { containers: [] } }],
    ['no spec', { metadata: {} }],
    ['containers that are numbers', { metadata: {}, spec: { containers: [1, null] } }],
    ['annotations that are a list', { metadata: { annotations: [1] }, spec: slicedPod().spec }],
    [
      'annotations that are numbers',
      { metadata: { annotations: { 'penstock.dev/slice': 1 } }, spec: slicedPod().spec },
    ],
    [
      'env that is a string',
      slicedPod({}, { containers: [{ ...slicedPod().spec.containers[0]!, env: 'x' as never }] }),
    ],
  ])('with %s passes and is counted, never thrown', async (_, pod) => {
    const { review, reports } = handlers();
    const verdict = await review(pod);
    expect(verdict.patch).toBeUndefined();
    expect(reports).toHaveLength(1);
  });

  it('passes with a warning when something of ours throws', async () => {
    const broken = new Error('lost');
    const { review, reports } = handlers(undefined, {
      inventory: () => {
        throw broken;
      },
    });
    expect(await review(slicedPod())).toEqual({ warnings: ['penstock: an internal error; the pod passes as it is'] });
    expect(reports).toMatchObject([{ outcome: 'noop', reason: 'internal-error', error: broken }]);
  });
});

describe('a review of ephemeral containers', () => {
  it('says nothing of a pod without slices', async () => {
    const { debug } = handlers();
    expect(await debug(slicedPod(), slicedPod())).toEqual({ warnings: [] });
  });

  it('tells of those that share a limit, and of those that do not', async () => {
    const { patch } = await handlers().review(slicedPod());
    const pod = applyPatch(structuredClone(slicedPod()), structuredClone([...(patch ?? [])])).newDocument;
    const mount = [{ name: 'data', mountPath: '/penstock/vram/lib' }];
    const ephemeralContainers = [{ name: 'a' }, { name: 'b', volumeMounts: mount }];
    const { debug, reports } = handlers();
    await debug({ ...pod, spec: { ...pod.spec, ephemeralContainers } }, pod);
    expect(reports).toEqual([
      {
        namespace: 'team',
        pod: 'pod',
        outcome: 'ephemeral',
        ephemeral: { limited: 1, unlimited: 1 },
        workloadType: 'none',
        gpusSaved: 0,
        requestDryRun: false,
      },
    ]);
  });

  it('passes with a warning when the pod cannot be read', async () => {
    const { debug, reports } = handlers();
    expect(await debug({ metadata: {} }, { metadata: {} })).toEqual({
      warnings: ['penstock: an internal error; the pod passes as it is'],
    });
    expect(reports).toMatchObject([{ reason: 'internal-error' }]);
  });
});
