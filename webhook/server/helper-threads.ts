// SPDX-License-Identifier: Apache-2.0
import { readFileSync, readdirSync } from 'node:fs';
import { getPriority, setPriority } from 'node:os';

const TASKS = '/proc/self/task';
/** What V8 calls the threads that collect and compile beside the one that answers. */
const HELPER = /V8Worker/;
/** Behind the thread that answers: a fifth of its weight, as the scheduler of Linux has it. */
const NICER = 7;
const NICEST = 19;

/**
 * Has collecting and compiling give way to answering where both have to share a core: four helpers that mark the heap at the same time as
 * reviews arrive leave a fifth of the core to these, for 50 ms or more. With cores to spare nothing changes. Where it cannot be done,
 * everything works as before.
 */
export function deferHelperThreads(): void {
  try {
    const priority = Math.min(getPriority() + NICER, NICEST);
    for (const thread of readdirSync(TASKS)) {
      if (HELPER.test(readFileSync(`${TASKS}/${thread}/comm`, 'latin1'))) setPriority(Number(thread), priority);
    }
  } catch {
    // No Linux, or a sandbox without /proc: a matter of milliseconds, and no reason not to start.
  }
}
