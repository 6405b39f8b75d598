// SPDX-License-Identifier: Apache-2.0
import { ENQUEUE } from './lua/enqueue.ts';
import { EXPIRE, PURGE, SWEEP } from './lua/housekeeping.ts';
import { LEASE } from './lua/lease.ts';
import { CANCEL, COMPLETE, DEMAND, EXTEND, GET, GIVE_BACK, NOTE, RETIRE } from './lua/scripts.ts';
import { script } from './runner.ts';

/** One script for each operation of the queue. */
export const scripts = {
  enqueue: script(ENQUEUE, 'adds work'),
  lease: script(LEASE),
  extend: script(EXTEND),
  complete: script(COMPLETE),
  giveBack: script(GIVE_BACK),
  cancel: script(CANCEL),
  get: script(GET),
  retire: script(RETIRE),
  note: script(NOTE),
  demand: script(DEMAND),
  expire: script(EXPIRE),
  sweep: script(SWEEP),
  purge: script(PURGE),
} as const;

export type ScriptName = keyof typeof scripts;
