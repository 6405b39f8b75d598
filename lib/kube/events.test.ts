// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { createFakeClock } from '#base/fake-clock.ts';
import type { FakeClock } from '#base/fake-clock.ts';
import { silentLogger } from '#base/logger.ts';
import { createRegistry } from '#base/metrics.ts';
import type { KubeClient } from './client.ts';
import { KubeError } from './errors.ts';
import { createEventRecorder } from './events.ts';
import type { EventInput, EventRecorder } from './events.ts';
import { createKubeMetrics } from './kube-metrics.ts';
import type { KubeMetrics } from './kube-metrics.ts';
import type { KubeObject, ObjectRef } from './types.ts';

interface Written {
  readonly verb: 'create' | 'patch';
  readonly name: string;
  readonly count: number;
  readonly body: Record<string, unknown>;
}

interface World {
  readonly clock: FakeClock;
  readonly written: Written[];
  readonly recorder: EventRecorder;
  readonly metrics: KubeMetrics;
  /** The next calls fail with this. */
  fail: KubeError | undefined;
}

function aWorld(): World {
  const clock = createFakeClock(Date.UTC(2026, 0, 1));
  const written: Written[] = [];
  const write = (verb: Written['verb'], name: string, body: Record<string, unknown>): void => {
    const series = body['series'] as { count: number } | undefined;
    written.push({ verb, name, body, count: series?.count ?? 1 });
    if (world.fail) throw world.fail;
  };
  const client = {
    create: async (_resource: unknown, body: KubeObject) => write('create', body.metadata.name, body as never),
    patch: async (_resource: unknown, ref: ObjectRef, body: Record<string, unknown>) => write('patch', ref.name, body),
  } as unknown as KubeClient;
  const metrics = createKubeMetrics(createRegistry('test', false));
  const recorder = createEventRecorder({
    client,
    controller: 'penstock.dev/test',
    instance: 'pod-0',
    clock,
    logger: silentLogger,
    metrics,
  });
  const world: World = { clock, written, recorder, metrics, fail: undefined };
  return world;
}

const app = {
  apiVersion: 'penstock.dev/v1alpha1',
  kind: 'InferenceApp',
  metadata: { namespace: 'ns', name: 'app', uid: 'u1' },
};
const anEvent = (change: Partial<EventInput> = {}): EventInput => ({
  regarding: app,
  type: 'Normal',
  reason: 'UnitCreated',
  action: 'CreateUnit',
  note: 'made',
  ...change,
});
const counts = ({ written }: World): string[] => written.map(({ verb, count }) => `${verb} ${count}`);

describe('event recorder', () => {
  test('writes what events.k8s.io/v1 asks for', async () => {
    const world = aWorld();
    world.recorder.record(anEvent());
    await world.clock.advance(0);
    expect(world.written[0]?.body).toMatchObject({
      metadata: { namespace: 'ns', name: expect.stringMatching(/^app\.[0-9a-f]+$/) as unknown },
      eventTime: '2026-01-01T00:00:00.000000Z',
      type: 'Normal',
      reason: 'UnitCreated',
      action: 'CreateUnit',
      note: 'made',
      regarding: { apiVersion: 'penstock.dev/v1alpha1', kind: 'InferenceApp', namespace: 'ns', name: 'app', uid: 'u1' },
      reportingController: 'penstock.dev/test',
      reportingInstance: 'pod-0',
    });
    expect(world.written[0]?.body).not.toHaveProperty('series');
  });

  test('a thousand repeats cost one more write each ten seconds, with the right count', async () => {
    const world = aWorld();
    for (let i = 0; i < 1000; i++) {
      world.recorder.record(anEvent());
      await world.clock.advance(20);
    }
    await world.clock.advance(10_000);
    expect(world.written.length).toBeLessThanOrEqual(4);
    expect(world.written.at(-1)).toMatchObject({ verb: 'patch', count: 1000 });
    expect(new Set(world.written.map(({ name }) => name)).size).toBe(1);
  });

  test('other notes, reasons and objects are events of their own, with names of their own', async () => {
    const world = aWorld();
    world.recorder.record(anEvent());
    world.recorder.record(anEvent({ note: 'made another' }));
    world.recorder.record(anEvent({ reason: 'UnitReady' }));
    world.recorder.record(anEvent({ regarding: { ...app, metadata: { ...app.metadata, uid: 'u2' } } }));
    await world.clock.advance(0);
    expect(counts(world)).toEqual(['create 1', 'create 1', 'create 1', 'create 1']);
    expect(new Set(world.written.map(({ name }) => name)).size).toBe(4);
  });

  test('a repeat after more than six quiet minutes is a new event', async () => {
    const world = aWorld();
    world.recorder.record(anEvent());
    await world.clock.advance(6 * 60_000 + 1);
    world.recorder.record(anEvent());
    await world.clock.advance(0);
    expect(counts(world)).toEqual(['create 1', 'create 1']);
  });

  test('a series whose event the server has dropped is created again with its count', async () => {
    const world = aWorld();
    world.recorder.record(anEvent());
    await world.clock.advance(0);
    world.recorder.record(anEvent());
    world.fail = new KubeError('gone', { status: 404, reason: 'NotFound' });
    await world.clock.advance(10_000);
    expect(counts(world)).toEqual(['create 1', 'patch 2', 'create 2']);
  });

  test('a failing server costs one try per occasion, never an error', async () => {
    const world = aWorld();
    world.fail = new KubeError('forbidden', { status: 403, reason: 'Forbidden' });
    world.recorder.record(anEvent());
    await world.clock.advance(60_000);
    expect(counts(world)).toEqual(['create 1']);
    await world.recorder.stop();
    const { values } = await world.metrics.events.get();
    expect(values.find(({ labels }) => labels.result === 'failed')?.value).toBe(1);
  });

  test('a flood of different events is bounded: fifty at once, then five a second', async () => {
    const world = aWorld();
    for (let i = 0; i < 500; i++) world.recorder.record(anEvent({ note: `n${i}` }));
    await world.clock.advance(0);
    expect(world.written).toHaveLength(50);
    await world.clock.advance(2_000);
    for (let i = 500; i < 600; i++) world.recorder.record(anEvent({ note: `n${i}` }));
    await world.clock.advance(0);
    expect(world.written).toHaveLength(60);
  });

  test('stopping writes the count that waits, and takes nothing more', async () => {
    const world = aWorld();
    world.recorder.record(anEvent());
    await world.clock.advance(0);
    for (let i = 0; i < 4; i++) world.recorder.record(anEvent());
    await world.recorder.stop();
    world.recorder.record(anEvent({ note: 'late' }));
    await world.clock.advance(60_000);
    expect(counts(world)).toEqual(['create 1', 'patch 5']);
    expect(world.clock.sleepers()).toBe(0);
  });

  test('long and odd texts are cut by bytes and stay whole characters; long names leave room for the time', async () => {
    const world = aWorld();
    const name = `${'a'.repeat(235)}.${'b'.repeat(10)}`;
    const regarding = { ...app, metadata: { ...app.metadata, name } };
    world.recorder.record(anEvent({ regarding, note: '😀'.repeat(1000), reason: 'R'.repeat(300) }));
    await world.clock.advance(0);
    const { note, reason, metadata } = world.written[0]!.body as {
      note: string;
      reason: string;
      metadata: { name: string };
    };
    expect(Buffer.byteLength(note)).toBeLessThanOrEqual(1024);
    expect(note).toMatch(/^(😀)+…$/u);
    expect(Buffer.byteLength(reason)).toBe(128);
    expect(metadata.name.length).toBeLessThanOrEqual(253);
    expect(metadata.name).toMatch(/^a+\.[0-9a-f]+$/);
  });

  test('an event about a cluster-scoped object lives in default', async () => {
    const world = aWorld();
    world.recorder.record(
      anEvent({
        regarding: { apiVersion: 'penstock.dev/v1alpha1', kind: 'Placement', metadata: { name: 'p', uid: 'u' } },
      }),
    );
    await world.clock.advance(0);
    expect(world.written[0]?.body['metadata']).toMatchObject({ namespace: 'default' });
  });
});
