// SPDX-License-Identifier: Apache-2.0
import { beforeEach, describe, expect, it } from 'vitest';
import { silentLogger } from '#base/logger.ts';
import type { LogFields } from '#base/logger.ts';
import { createRegistry } from '#base/metrics.ts';
import type { Registry } from '#base/metrics.ts';
import type { EventInput } from '#kube/events.ts';
import { boundedLabel, createWebhookMetrics } from './metrics.ts';
import type { SliceDeps, SliceReport } from './slice/context.ts';
import { createSliceReport } from './slice-report.ts';

const sliced: SliceReport = {
  namespace: 'team',
  pod: 'trainer',
  outcome: 'mutated',
  workloadType: 'training',
  gpusSaved: 0.75,
  requestDryRun: false,
};

let registry: Registry;
let told: Pick<SliceDeps, 'report' | 'emit'>;
let lines: { readonly level: string; readonly message: string; readonly fields: LogFields }[];
let events: EventInput[];

beforeEach(() => {
  registry = createRegistry('test', false);
  lines = [];
  events = [];
  const on =
    (level: string) =>
    (fields: LogFields, message: string): void =>
      void lines.push({ level, message, fields });
  told = createSliceReport({
    metrics: createWebhookMetrics(registry, () => ({ reviews: 0, connections: 0 })),
    logger: { ...silentLogger, error: on('error') },
    changes: { info: on('info') },
    events: { record: (event) => void events.push(event) },
  });
});

async function valueOf(metric: string, labels: Readonly<Record<string, string>> = {}): Promise<number | undefined> {
  const found = (await registry.getSingleMetric(metric)?.get())?.values ?? [];
  return found.find((value) =>
    Object.entries(labels).every(([name, wanted]) => (value.labels as Record<string, unknown>)[name] === wanted),
  )?.value;
}

describe('a pod that was sliced', () => {
  it('is counted by namespace and type of work, with the GPUs that others may have, and has one line', async () => {
    told.report(sliced);
    told.report({ ...sliced, gpusSaved: 0.5 });
    expect(await valueOf('penstock_webhook_mutations_total', { namespace: 'team', workload_type: 'training' })).toBe(2);
    expect(await valueOf('penstock_webhook_gpus_saved_total')).toBe(1.25);
    expect(await valueOf('penstock_webhook_policy_enrolled_total')).toBe(0);
    expect(lines[0]).toEqual({
      level: 'info',
      message: 'pod sliced',
      fields: { namespace: 'team', pod: 'trainer', workloadType: 'training', gpusSaved: 0.75, requestDryRun: false },
    });
    expect(lines.length).toBe(2);
  });

  it('has a line with its containers, what they were given, and the rule, and nothing of its environment', () => {
    const slices = [{ container: 'main', resource: 'nvidia.com/gpu.shared', units: 2, quota: 2 ** 33 }];
    told.report({ ...sliced, rule: 'notebooks', slices });
    expect(lines[0]?.fields).toEqual({
      namespace: 'team',
      pod: 'trainer',
      workloadType: 'training',
      gpusSaved: 0.75,
      requestDryRun: false,
      rule: 'notebooks',
      slices,
    });
  });

  it('by a rule is counted apart, too', async () => {
    told.report({ ...sliced, rule: 'notebooks' });
    expect(await valueOf('penstock_webhook_policy_enrolled_total', { rule: 'notebooks' })).toBe(1);
  });

  it('before, and was made whole again, has one line with the reason', () => {
    told.report({ ...sliced, outcome: 'noop', reason: 'no-node', restored: true });
    expect(lines).toMatchObject([
      { level: 'info', message: 'pod made whole again', fields: { pod: 'trainer', reason: 'no-node', restored: true } },
    ]);
  });

  it('before is not counted as one that was left as it is', async () => {
    told.report({ ...sliced, outcome: 'noop', reason: 'no-node', restored: true });
    expect(await valueOf('penstock_webhook_restored_total', { namespace: 'team' })).toBe(1);
    expect(await valueOf('penstock_webhook_noops_total', { reason: 'no-node', namespace: 'team' })).toBeUndefined();
  });

  it('before, and was put right, is not counted as another one', async () => {
    told.report({ ...sliced, again: true });
    expect(await valueOf('penstock_webhook_mended_total', { namespace: 'team' })).toBe(1);
    expect(await valueOf('penstock_webhook_mutations_total', { namespace: 'team' })).toBeUndefined();
    expect(await valueOf('penstock_webhook_gpus_saved_total')).toBe(0);
    expect(lines).toMatchObject([{ message: 'slices of a pod put right' }]);
  });

  it('and gets ephemeral containers has a line, and they are counted', async () => {
    told.report({ ...sliced, outcome: 'ephemeral', ephemeral: { limited: 2, unlimited: 1 } });
    const counted = async (limited: string): Promise<number | undefined> =>
      valueOf('penstock_webhook_ephemeral_containers_total', { namespace: 'team', limited });
    expect([await counted('true'), await counted('false')]).toEqual([2, 1]);
    expect(lines).toMatchObject([
      { message: 'ephemeral containers of a pod with slices', fields: { ephemeral: { limited: 2, unlimited: 1 } } },
    ]);
  });

  it('in a request that was only a try is not counted', async () => {
    told.report({ ...sliced, requestDryRun: true });
    expect(await valueOf('penstock_webhook_mutations_total', { namespace: 'team' })).toBeUndefined();
    expect(await valueOf('penstock_webhook_gpus_saved_total')).toBe(0);
  });
});

describe('a pod that was left as it is', () => {
  it('is counted by its reason and has no line', async () => {
    told.report({ ...sliced, outcome: 'noop', reason: 'no-node', gpusSaved: 0 });
    const labels = { reason: 'no-node', namespace: 'team', workload_type: 'training' };
    expect(await valueOf('penstock_webhook_noops_total', labels)).toBe(1);
    expect(lines).toEqual([]);
  });

  it('because of a dry run is counted, and saves nothing', async () => {
    told.report({ ...sliced, outcome: 'dry-run' });
    expect(await valueOf('penstock_webhook_audits_total', { namespace: 'team', workload_type: 'training' })).toBe(1);
    expect(await valueOf('penstock_webhook_gpus_saved_total')).toBe(0);
    expect(lines[0]?.message).toBe('pod would have been sliced');
  });

  it('because something was thrown is an error', async () => {
    told.report({ ...sliced, outcome: 'noop', reason: 'internal-error', gpusSaved: 0, error: new Error('odd') });
    expect(await valueOf('penstock_webhook_errors_total', { code: 'internal', namespace: 'team' })).toBe(1);
    expect(await valueOf('penstock_webhook_noops_total', { reason: 'internal-error', namespace: 'team' })).toBe(1);
    expect(lines[0]).toMatchObject({ level: 'error', fields: { err: new Error('odd') } });
  });
});

describe('an Event', () => {
  const event = { type: 'Warning', reason: 'NotSliced', message: 'keeps its whole GPUs' } as const;
  it('is about the controller of the pod', () => {
    const regarding = { apiVersion: 'apps/v1', kind: 'ReplicaSet', namespace: 'team', name: 'trainer-1', uid: 'u' };
    told.emit({ regarding, ...event });
    expect(events).toEqual([
      {
        regarding: {
          apiVersion: 'apps/v1',
          kind: 'ReplicaSet',
          metadata: { namespace: 'team', name: 'trainer-1', uid: 'u' },
        },
        type: 'Warning',
        reason: 'NotSliced',
        action: 'Slice',
        note: 'keeps its whole GPUs',
      },
    ]);
  });

  it.each<[string, object]>([
    ['a name that none can have', { name: 'IMPORTANT: ask mallory' }],
    ['a kind that none is', { kind: 'Pod\nx' }],
    ['a group that none is in', { apiVersion: 'apps/v1 ' }],
    ['a uid that none has', { uid: 'u u' }],
    ['a name that is none', { name: 7 }],
  ])('about something with %s is not written: the review is forged', (_, changes) => {
    const regarding = { apiVersion: 'apps/v1', kind: 'ReplicaSet', namespace: 'team', name: 'trainer-1', uid: 'u' };
    told.emit({ regarding: { ...regarding, ...changes }, ...event });
    expect(events).toEqual([]);
  });

  it('has one line', () => {
    const regarding = { apiVersion: 'v1', kind: 'Pod', namespace: 'team', name: 'trainer' };
    told.emit({ regarding, ...event, message: 'main mounts "/penstock\n\u202eIMPORTANT"' });
    expect(events[0]?.note).toBe('main mounts "/penstock IMPORTANT"');
  });

  it('about a pod without name and controller is about its namespace', () => {
    told.emit({ regarding: { apiVersion: 'v1', kind: 'Pod', namespace: 'team', name: '' }, ...event });
    expect(events[0]?.regarding).toEqual({
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { namespace: 'team', name: 'team' },
    });
  });
});

it('has labels for so many values only, and counts the others together', () => {
  const label = boundedLabel(2);
  expect(['a', 'b', 'c', 'a', 'd'].map(label)).toEqual(['a', 'b', 'other', 'a', 'other']);
});
