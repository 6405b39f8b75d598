// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startRedis } from '#test/servers/redis.ts';

/** A fresh Redis for each measurement, durable as deployed: what one leaves behind does not slow the next. */
export async function withRedis(measure: (url: string, folder: string, pid: number) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'penstock-bench-'));
  const redis = await startRedis({ appendonly: true, fsync: 'always' });
  try {
    await measure(redis.url, folder, redis.pid ?? 0);
  } finally {
    await redis.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}
