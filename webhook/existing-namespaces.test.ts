// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { forExisting } from './existing-namespaces.ts';
import type { SliceReport } from './slice/context.ts';

const OWN = 'penstock-system';

/** What is told of pods in these namespaces, of which `forged` is one that nobody has made. */
function toldOf(namespaces: readonly string[]): unknown[] {
  const known = { get: (name: string) => (name === 'forged' ? undefined : { metadata: { name } }) };
  const seen: unknown[] = [];
  const { metrics, events } = forExisting(known, OWN, {
    metrics: { failed: (code) => seen.push(code), sliced: ({ namespace }) => seen.push(namespace) },
    events: { record: ({ regarding }) => seen.push(regarding.metadata) },
  });
  for (const namespace of namespaces) {
    metrics.sliced({ namespace, outcome: 'mutated' } as SliceReport);
    const regarding = { metadata: { name: 'a-pod', namespace } };
    events.record({ regarding, type: 'Normal', reason: 'Sliced', action: 'Slice', note: '' });
  }
  metrics.failed('internal');
  return seen;
}

it('a namespace that nobody has made has no Event and no series of its own', () => {
  expect(toldOf(['team', 'forged'])).toEqual(['team', { name: 'a-pod', namespace: 'team' }, 'other', 'internal']);
});

it('nor has one whose pods the API server never sends: such a review is forged', () => {
  const text = readFileSync(new URL('../config/webhook/webhooks.yaml', import.meta.url), 'utf8');
  const [pods] = parseAllDocuments(text).map((document) => document.toJS() as Configuration);
  const [excluded] = pods?.webhooks[0]?.namespaceSelector?.matchExpressions ?? [];
  expect(excluded).toMatchObject({ key: 'kubernetes.io/metadata.name', operator: 'NotIn' });
  expect(excluded?.values).toContain(OWN);
  expect(toldOf(excluded?.values ?? [])).toEqual([...(excluded?.values ?? []).map(() => 'other'), 'internal']);
});

interface Configuration {
  readonly webhooks: readonly {
    readonly namespaceSelector?: { readonly matchExpressions: readonly { readonly values: readonly string[] }[] };
  }[];
}
