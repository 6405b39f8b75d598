// SPDX-License-Identifier: Apache-2.0
import { globSync, readFileSync } from 'node:fs';
import { expect, it } from 'vitest';

const METRIC = /penstock_webhook_\w+/g;

it('docs/gpu-sharing-cluster.md names every metric of the webhook, and none that there is not', () => {
  const sources = globSync('**/*.ts', { cwd: import.meta.dirname }).filter(
    (file) => !/\.(test|testing)\.ts$/.test(file),
  );
  const registered = sources.flatMap((file) => {
    const text = readFileSync(new URL(file, import.meta.url), 'utf8');
    return [...text.matchAll(/^\s*'(penstock_webhook_\w+)',$|\(\s*registry,\s*'(penstock_webhook_\w+)'/gm)];
  });
  const there = new Set(registered.map(([, alone, inLine]) => alone ?? inLine ?? ''));
  const page = readFileSync(new URL('../docs/gpu-sharing-cluster.md', import.meta.url), 'utf8');
  const named = new Set(page.replaceAll('`…_', '`penstock_webhook_').match(METRIC));
  named.delete('penstock_webhook_');
  expect(there.size).toBeGreaterThan(20);
  expect([...named].toSorted()).toEqual([...there].toSorted());
});
