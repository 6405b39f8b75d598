// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { silentLogger } from './logger.ts';
import { createShutdown } from './shutdown.ts';

test('steps run once, last registered first, and a step that throws keeps no other from running', async () => {
  const ran: string[] = [];
  const shutdown = createShutdown(silentLogger);
  shutdown.onStop('queue', () => void ran.push('queue'));
  shutdown.onStop('broken', () => {
    throw new Error('no');
  });
  shutdown.onStop('server', async () => {
    await Promise.resolve();
    ran.push('server');
  });
  shutdown.begin('SIGTERM');
  shutdown.begin('SIGTERM');
  expect(shutdown.signal.aborted).toBe(true);
  await shutdown.done;
  expect(ran).toEqual(['server', 'queue']);
});

test('a step that never ends does not keep the process for ever', async () => {
  const shutdown = createShutdown(silentLogger, 10);
  shutdown.onStop('hangs', () => new Promise(() => {}));
  shutdown.begin('SIGTERM');
  await expect(shutdown.done).resolves.toBeUndefined();
});
