// SPDX-License-Identifier: Apache-2.0
import { expect, it } from 'vitest';
import type { Placement } from '#crds/placement.gen.ts';
import type { KubeClient, ListOptions } from '#kube/client.ts';
import { createPlacementLookUp } from './placement-look-up.ts';
import { aPlacement } from './testing.ts';

const CACHED = aPlacement('p', { allowedNamespaces: ['old'] });
const NOW = aPlacement('p', { allowedNamespaces: ['new'] });

async function lookUp(
  answer: () => readonly Placement[],
): Promise<{ found: Placement | undefined; asked: ListOptions[] }> {
  const asked: ListOptions[] = [];
  const list = (_resource: unknown, options: ListOptions): Promise<unknown> => {
    asked.push(options);
    return Promise.resolve().then(() => ({ items: answer(), resourceVersion: '1' }));
  };
  const look = createPlacementLookUp({ list } as unknown as Pick<KubeClient, 'list'>, { get: () => CACHED });
  return { found: await look('p', new AbortController().signal), asked };
}

it('is what the API server has, one by its name', async () => {
  const { found, asked } = await lookUp(() => [NOW]);
  expect(found).toBe(NOW);
  expect(asked[0]).toMatchObject({ fieldSelector: 'metadata.name=p', limit: 1 });
});

it('is nothing when the API server has nothing', async () => {
  expect((await lookUp(() => [])).found).toBeUndefined();
});

it('is what the watch had when the API server says nothing', async () => {
  const { found } = await lookUp(() => {
    throw new Error('late');
  });
  expect(found).toBe(CACHED);
});
