// SPDX-License-Identifier: Apache-2.0
import { Worker } from 'node:worker_threads';
import type { CheckCall, ThreadAnswer, ThreadCall } from './verdict.ts';

/** A thread that runs `thread-entry.ts`. */
export interface ValidatorThread {
  load(id: string, source: string): void;
  drop(id: string): void;
  check(jobs: CheckCall['jobs']): void;
  /** Place of the body that it is at; the number of them when it is through. */
  progress(): number;
  /** Ends it, whatever it is at: V8 interrupts loops, and regular expressions where they backtrack. */
  end(): Promise<void>;
}

export interface ThreadEvents {
  readonly answered: (message: ThreadAnswer) => void;
  readonly died: (reason: string) => void;
}

export function openValidatorThread(heapMb: number, { answered, died }: ThreadEvents): ValidatorThread {
  const shared = new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT);
  const counter = new Int32Array(shared);
  const worker = new Worker(new URL('./thread-entry.ts', import.meta.url), {
    workerData: shared,
    // It needs nothing of ours, credentials in the environment least of all.
    env: {},
    resourceLimits: { maxOldGenerationSizeMb: heapMb },
  });
  // Checks that nobody waits for any more must not keep the process.
  worker.unref();
  let reason = 'the thread ended';
  worker.on('message', answered);
  worker.on('error', (err) => {
    reason = err instanceof Error ? err.message : String(err);
  });
  worker.on('exit', () => died(reason));
  const send = (call: ThreadCall): void => worker.postMessage(call, []);
  return {
    load: (id, source) => send({ call: 'load', id, source }),
    drop: (id) => send({ call: 'drop', id }),
    check: (jobs) => {
      Atomics.store(counter, 0, 0);
      send({ call: 'check', jobs });
    },
    progress: () => Atomics.load(counter, 0),
    end: async () => {
      await worker.terminate();
    },
  };
}
