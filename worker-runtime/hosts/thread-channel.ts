// SPDX-License-Identifier: Apache-2.0
import { Worker } from 'node:worker_threads';
import type { Channel, Message } from './protocol.ts';

/** A thread that does not end within this time hangs in native code: only the end of the process ends it. */
const TERMINATE_LIMIT_MS = 5_000;

/**
 * A handler host in a thread of this process. `entry` is `thread-entry.ts` (or its bundle). Spinning JavaScript is interrupted by
 * `terminate`. What the handler prints goes to standard error.
 */
export function openThread(entry: URL): Channel {
  const worker = new Worker(entry, { stdout: true, stderr: true, env: userEnv(process.env) });
  worker.stdout.on('data', (chunk: Buffer) => process.stderr.write(chunk));
  worker.stderr.on('data', (chunk: Buffer) => process.stderr.write(chunk));
  let reason: string | undefined;
  worker.on('error', (err) => {
    reason = err instanceof Error ? `${err.name}: ${err.message}` : String(err);
  });
  const exited = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
  let killed: Promise<void> | undefined;
  return {
    // Own copies, transferred: a view on a pooled or larger buffer would drag all of that buffer along.
    send: ({ head, parts }) => {
      const copies = parts.map((part) => new Uint8Array(part));
      worker.postMessage(
        { head, parts: copies },
        copies.map(({ buffer }) => buffer),
      );
    },
    onMessage: (listener) => void worker.on('message', (message: Message) => listener(message)),
    onClose: (listener) =>
      void worker.on('exit', (code) => listener(reason ?? `the handler's thread ended with code ${code}`)),
    kill: () => (killed ??= terminate(worker, exited)),
  };
}

async function terminate(worker: Worker, exited: Promise<void>): Promise<void> {
  void worker.terminate();
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const stuck = (): void => reject(new Error('the thread cannot be ended: it hangs in native code'));
    timer = setTimeout(stuck, TERMINATE_LIMIT_MS);
  });
  await Promise.race([exited, late]).finally(() => clearTimeout(timer));
}

/** The environment that user code sees: without the settings of the unit (among them the way to its token). */
export function userEnv(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith('PENSTOCK_')));
}
