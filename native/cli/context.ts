// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '#base/clock.ts';
import type { Random } from '#base/random.ts';
import type { Processes } from './processes.ts';
import type { Disk } from './sessions/disk.ts';

/** The world as a command sees it. */
export interface Context {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly uid: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly disk: Disk;
  readonly processes: Processes;
  /** Standard output: what was asked for. */
  readonly out: (text: string) => void;
  /** Standard error: what a person should know besides. */
  readonly note: (text: string) => void;
  /** Whether standard output is a terminal that can be cleared. */
  readonly terminal: boolean;
  /** The shell that becomes the program of `run` and `attach`; undefined when there is none. */
  readonly shell: Shell | undefined;
}

export interface Shell {
  readonly pid: number;
  /**
   * Tells the shell how many of its words to drop, what to preload, and the FIFO that the program is to hold open. Nothing else can go
   * wrong afterwards.
   */
  readonly handOver: (dropWords: number, objects: readonly string[], alive: string) => void;
}

export interface Command {
  readonly name: string;
  /** One line for `penstock-vram help`. */
  readonly summary: string;
  readonly help: HelpPage;
  /** @returns the exit status. @throws VramError */
  readonly run: (context: Context, argv: readonly string[]) => number | Promise<number>;
}

/** A page as in man(1). Options and examples are pairs: how it is written, what it does. */
export interface HelpPage {
  readonly synopsis: readonly string[];
  readonly description: readonly string[];
  readonly options: readonly (readonly [option: string, meaning: string])[];
  readonly exit?: readonly string[];
  readonly examples: readonly (readonly [command: string, meaning: string])[];
}
