// SPDX-License-Identifier: Apache-2.0
// A handler that takes its time: answers each body as it came, after PAUSE_MS (default 1000). For looking at queues and scaling.
// With SIGN=yes each run says on stderr that it begins, and puts its own number in a line below the body: then one sees how
// often a request ran, and which of its runs was answered.
import { randomUUID } from 'node:crypto';
import { writeSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import type { HandlerRequest, TypedResult } from '#worker/handler.ts';

const pauseMs = Number(process.env['PAUSE_MS'] ?? 1000);
const signs = process.env['SIGN'] === 'yes';
const STDERR = 2;

export async function predict(batch: readonly HandlerRequest[]): Promise<TypedResult[]> {
  const answers = batch.map(signs ? signed : echo);
  await pause(pauseMs);
  return answers;
}

function echo({ body, contentType }: HandlerRequest): TypedResult {
  return { body, contentType };
}

function signed(request: HandlerRequest): TypedResult {
  const run = randomUUID();
  // Not console.error: a line that waits in this process is lost when the unit is killed.
  writeSync(STDERR, `run ${run} of ${request.text()}\n`);
  return { body: `${request.text()}\n${run}`, contentType: request.contentType };
}
