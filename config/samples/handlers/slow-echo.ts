// SPDX-License-Identifier: Apache-2.0
// A handler that takes its time: answers each body as it came, after PAUSE_MS (default 1000). For looking at queues and scaling.
import { setTimeout as pause } from 'node:timers/promises';
import type { HandlerRequest, TypedResult } from '#worker/handler.ts';

const pauseMs = Number(process.env['PAUSE_MS'] ?? 1000);

export async function predict(batch: readonly HandlerRequest[]): Promise<TypedResult[]> {
  await pause(pauseMs);
  return batch.map(({ body, contentType }) => ({ body, contentType }));
}
