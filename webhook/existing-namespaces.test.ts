// SPDX-License-Identifier: Apache-2.0
import { expect, it } from 'vitest';
import { forExisting } from './existing-namespaces.ts';
import type { SliceReport } from './slice/context.ts';

it('a namespace that nobody has made has no Event and no series of its own', () => {
  const namespaces = { get: (name: string) => (name === 'team' ? { metadata: { name } } : undefined) };
  const seen: unknown[] = [];
  const { metrics, events } = forExisting(namespaces, {
    metrics: { failed: (code) => seen.push(code), sliced: ({ namespace }) => seen.push(namespace) },
    events: { record: ({ regarding }) => seen.push(regarding) },
  });
  const pod = (namespace: string) => ({ metadata: { name: 'a-pod', namespace } });
  for (const namespace of ['team', 'forged']) {
    metrics.sliced({ namespace, outcome: 'mutated' } as SliceReport);
    events.record({ regarding: pod(namespace), type: 'Normal', reason: 'Sliced', action: 'Slice', note: '' });
  }
  metrics.failed('internal');
  expect(seen).toEqual(['team', pod('team'), 'other', 'internal']);
});
