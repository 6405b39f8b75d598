// SPDX-License-Identifier: Apache-2.0
import { expect, it } from 'vitest';
import { createRegistry } from '#base/metrics.ts';
import { createMissedMetrics } from './missed-metrics.ts';

const NAMES = ['penstock_webhook_missed_pods', 'penstock_webhook_missed_looked_seconds'];

it('a replica that does not look has no time of a look and no pods, so that an alert on the age does not mean it', async () => {
  const registry = createRegistry('test', false);
  const metrics = createMissedMetrics(registry);
  const shown = async (): Promise<string[]> => {
    const lines = (await registry.metrics()).split('\n');
    return lines.filter((line) => NAMES.some((name) => line.startsWith(`${name}{`)));
  };
  expect(await shown()).toEqual([]);
  metrics.looked(new Map([['whole', 2]]), 1_700_000_000_000);
  expect(await shown()).toContain('penstock_webhook_missed_looked_seconds{component="test"} 1700000000');
  expect(await shown()).toContain('penstock_webhook_missed_pods{kind="whole",component="test"} 2');
  metrics.forget();
  expect(await shown()).toEqual([]);
});
