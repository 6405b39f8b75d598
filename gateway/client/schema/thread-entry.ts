// SPDX-License-Identifier: Apache-2.0
// A validator thread: everything that a user's schema or pattern makes run, runs here, where it can be ended.
import { parentPort, workerData } from 'node:worker_threads';
import { createValidator } from './validator.ts';
import type { ThreadAnswer, ThreadCall } from './verdict.ts';

const validator = createValidator();
/** How many bodies of the call at hand are done: read by the gateway when it wonders which one hangs. */
const progress = new Int32Array(workerData as SharedArrayBuffer);

function answer(to: ThreadCall): ThreadAnswer | undefined {
  if (to.call === 'drop') {
    validator.drop(to.id);
    return undefined;
  }
  if (to.call === 'load') return { answer: 'load', verdict: validator.load(to.id, to.source) };
  const verdicts = to.jobs.map(({ id, body }, i) => {
    Atomics.store(progress, 0, i);
    return validator.check(id, body);
  });
  Atomics.store(progress, 0, to.jobs.length);
  return { answer: 'check', verdicts };
}

function send(message: ThreadAnswer): void {
  parentPort?.postMessage(message, []);
}

parentPort?.on('message', (call: ThreadCall) => {
  const message = answer(call);
  if (message !== undefined) send(message);
});
send({ answer: 'ready' });
