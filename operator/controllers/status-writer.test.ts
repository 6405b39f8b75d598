// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import type { InferenceApp, InferenceAppStatus } from '#crds/inference-app.gen.ts';
import { createFakeClock } from '#base/fake-clock.ts';
import type { FakeClock } from '#base/fake-clock.ts';
import type { KubeClient } from '#kube/client.ts';
import { anApp } from '../decide/testing.ts';
import { createStatusWriter } from './status-writer.ts';
import type { StatusWriter } from './status-writer.ts';

function aWriter(): { writer: StatusWriter; written: InferenceAppStatus[]; clock: FakeClock } {
  const written: InferenceAppStatus[] = [];
  const clock = createFakeClock();
  const client = {
    applyStatus: async (_resource: unknown, object: InferenceApp) => void written.push(object.status ?? {}),
  } as unknown as KubeClient;
  return { writer: createStatusWriter(client, clock), written, clock };
}

const queued = (count: number, phase: InferenceAppStatus['phase'] = 'Ready'): InferenceAppStatus => ({
  phase: phase ?? 'Ready',
  queue: { queued: count, leased: 0 },
});
const withStatus = (status: InferenceAppStatus): InferenceApp => ({ ...anApp(), status });

describe('the status writer', () => {
  it('writes the first status at once', async () => {
    const { writer, written } = aWriter();
    expect(await writer.write(anApp(), queued(1))).toBeUndefined();
    expect(written).toEqual([queued(1)]);
  });

  it('puts off counts that move within 15 s of a write, and says until when', async () => {
    const { writer, written, clock } = aWriter();
    await writer.write(anApp(), queued(1));
    await clock.advance(5_000);
    expect(await writer.write(withStatus(queued(1)), queued(2))).toBe(10_000);
    expect(written).toHaveLength(1);
    await clock.advance(10_000);
    expect(await writer.write(withStatus(queued(1)), queued(3))).toBeUndefined();
    expect(written).toEqual([queued(1), queued(3)]);
  });

  it('writes everything else at once, with the counts of the moment', async () => {
    const { writer, written } = aWriter();
    await writer.write(anApp(), queued(1));
    await writer.write(withStatus(queued(1)), queued(2, 'Held'));
    expect(written).toEqual([queued(1), queued(2, 'Held')]);
  });

  it('keeps apps apart, and forgets', async () => {
    const { writer, written } = aWriter();
    await writer.write(anApp(), queued(1));
    const other = { ...withStatus(queued(1)), metadata: { ...anApp().metadata, uid: 'uid-2' } };
    expect(await writer.write(other, queued(2))).toBeUndefined();
    writer.forget('uid-1');
    expect(await writer.write(withStatus(queued(1)), queued(2))).toBeUndefined();
    expect(written).toHaveLength(3);
  });
});
