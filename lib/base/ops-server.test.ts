// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { counter, createRegistry } from './metrics.ts';
import { startOpsServer } from './ops-server.ts';

test('health, readiness and metrics, and nothing else', async () => {
  const registry = createRegistry('test', false);
  counter(registry, 'penstock_test_total', 'a count', ['outcome'], [{ outcome: 'ok' }]);
  let why: string | undefined = 'the queue cannot be reached';
  const server = await startOpsServer({ host: '127.0.0.1', port: 0, registry, notReady: () => why });
  const get = async (path: string, method = 'GET'): Promise<[number, string]> => {
    const answer = await fetch(`http://127.0.0.1:${server.port}${path}`, { method });
    return [answer.status, await answer.text()];
  };
  try {
    expect(await get('/healthz')).toEqual([200, 'ok']);
    expect(await get('/readyz')).toEqual([503, 'the queue cannot be reached']);
    why = undefined;
    expect(await get('/readyz?verbose')).toEqual([200, 'ok']);
    const [status, text] = await get('/metrics');
    expect(status).toBe(200);
    expect(text).toContain('penstock_test_total{outcome="ok",component="test"} 0');
    expect((await get('/'))[0]).toBe(404);
    expect((await get('/metrics', 'POST'))[0]).toBe(405);
  } finally {
    await server.close();
  }
});
