// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { createRegistry } from '#base/metrics.ts';
import { defaultPolicy } from './auth/policy.ts';
import { TENANT_LABELS_MAX } from './limits.ts';
import { createTenantMetrics } from './tenant-metrics.ts';

async function counts(registry: ReturnType<typeof createRegistry>, outcome: string): Promise<Record<string, number>> {
  const found = await registry.getSingleMetric('penstock_gateway_tenant_requests_total')?.get();
  const own = (found?.values ?? []).filter(({ labels }) => labels['outcome'] === outcome);
  return Object.fromEntries(own.map(({ labels, value }) => [String(labels['tenant']), value]));
}

test('tenants of the document have a label of their own from the start, all others share one', async () => {
  const registry = createRegistry('test', false);
  let names = ['one', 'two'];
  const metrics = createTenantMetrics(registry, {
    policies: () => ({ names: () => names, of: (name) => defaultPolicy(name) }),
  });
  expect(await counts(registry, 'queued')).toEqual({ one: 0, two: 0, other: 0 });
  for (const tenant of ['one', 'one', 'made-up', 'invented']) metrics.submitted(tenant, 'queued');
  metrics.submitted('two', 'queue-full');
  expect(await counts(registry, 'queued')).toEqual({ one: 2, two: 0, other: 2 });
  expect(await counts(registry, 'queue-full')).toEqual({ one: 0, two: 1, other: 0 });

  names = ['one', 'three'];
  metrics.renew();
  expect(await counts(registry, 'queued')).toEqual({ one: 2, two: 0, three: 0, other: 2 });
  expect(await counts(registry, 'joined')).toEqual({ one: 0, two: 0, three: 0, other: 0 });
});

test('a tenant that leaves the document and comes back goes on counting where it was', async () => {
  const registry = createRegistry('test', false);
  let names = ['one', 'two'];
  const metrics = createTenantMetrics(registry, {
    policies: () => ({ names: () => names, of: (name) => defaultPolicy(name) }),
  });
  metrics.submitted('two', 'queued');
  names = ['one'];
  metrics.renew();
  // Without an entry it is one of the others, until it has one again.
  metrics.submitted('two', 'queued');
  expect(await counts(registry, 'queued')).toEqual({ one: 0, two: 1, other: 1 });
  names = ['two'];
  metrics.renew();
  metrics.submitted('two', 'queued');
  expect(await counts(registry, 'queued')).toEqual({ one: 0, two: 2, other: 1 });
});

test('tenants that left make room, whoever left first, once the labels are used up', async () => {
  const registry = createRegistry('test', false);
  const many = Array.from({ length: TENANT_LABELS_MAX - 1 }, (_, i) => `t${i}`);
  let names = ['first', 'second'];
  const metrics = createTenantMetrics(registry, {
    policies: () => ({ names: () => names, of: (name) => defaultPolicy(name) }),
  });
  names = ['second'];
  metrics.renew();
  names = many;
  metrics.renew();
  const labels = Object.keys(await counts(registry, 'queued'));
  expect(labels).toHaveLength(TENANT_LABELS_MAX + 1);
  expect([labels.includes('first'), labels.includes('second')]).toEqual([false, true]);
});

test('a document of any size makes a bounded number of labels', async () => {
  const registry = createRegistry('test', false);
  const names = Array.from({ length: TENANT_LABELS_MAX + 5 }, (_, i) => `t${i}`);
  const metrics = createTenantMetrics(registry, {
    policies: () => ({ names: () => names, of: (name) => defaultPolicy(name) }),
  });
  metrics.submitted(names.at(-1) ?? '', 'rate-limited');
  const rate = await counts(registry, 'rate-limited');
  expect([Object.keys(rate).length, rate['other']]).toEqual([TENANT_LABELS_MAX + 1, 1]);
});
