// SPDX-License-Identifier: Apache-2.0
import { closed, withConstants } from './lua/core.ts';
import { ENQUEUE } from './lua/enqueue.ts';
import { EXPIRE, PURGE, SWEEP } from './lua/housekeeping.ts';
import { LEASE } from './lua/lease.ts';
import { DISCARD, GENERATION, LETTERS, LIVE, REDRIVE, SALVAGE } from './lua/letters.ts';
import { OUTCOMES } from './lua/outcomes.ts';
import { CANCEL_REQUEST, COMPLETE, DEMAND, EXTEND, GET, GIVE_BACK, NOTE, RETIRE, SHARES } from './lua/scripts.ts';
import { script as scriptOf } from './runner.ts';
import type { Argument, Script } from './runner.ts';

const script = (text: string, more?: 'adds work'): Script => scriptOf(closed(withConstants(text)), more);

/** One script for each operation of the queue. */
export const scripts = {
  enqueue: script(ENQUEUE, 'adds work'),
  lease: script(LEASE),
  extend: script(EXTEND),
  complete: script(COMPLETE),
  giveBack: script(GIVE_BACK),
  cancel: script(CANCEL_REQUEST),
  get: script(GET),
  outcomes: script(OUTCOMES),
  retire: script(RETIRE),
  note: script(NOTE),
  shares: script(SHARES),
  demand: script(DEMAND),
  expire: script(EXPIRE),
  sweep: script(SWEEP),
  purge: script(PURGE),
  letters: script(LETTERS),
  redrive: script(REDRIVE, 'adds work'),
  discard: script(DISCARD),
  live: script(LIVE),
  salvage: script(SALVAGE),
  generation: script(GENERATION),
} as const;

export type ScriptName = keyof typeof scripts;

/** Runs one of them on an app; answers without the generation. */
export type Run = (
  name: ScriptName,
  app: string,
  now: number | undefined,
  args: readonly Argument[],
) => Promise<unknown>;
