// SPDX-License-Identifier: Apache-2.0
import { pino } from 'pino';
import type { DestinationStream } from 'pino';
import type { Shutdown } from '#base/shutdown.ts';

/** As shells say it: 128 + SIGINT. */
const EXIT_INTERRUPTED = 130;

/**
 * What a person at a terminal expects beyond SIGTERM and SIGINT: closing the terminal stops the program in order too, and Ctrl-C once
 * more ends it at once (units end with it, what was accepted is on disk).
 */
export function stopOnTerminal(shutdown: Shutdown): void {
  process.on('SIGHUP', () => {
    if (hasTerminal) shutdown.begin('SIGHUP');
  });
  let interrupted = false;
  process.on('SIGINT', () => {
    if (interrupted) process.exit(EXIT_INTERRUPTED);
    interrupted = true;
  });
  process.stdout.on('error', () => {});
}

/** Under nohup there is none, and SIGHUP must not stop anything. (Node resets the ignored signal that nohup leaves to its children.) */
const hasTerminal = [process.stdin, process.stdout, process.stderr].some(({ isTTY }) => isTTY);

/** Standard error for the log. A terminal that is gone refuses every write; the log then has nobody to go to, the requests still have. */
export function logDestination(): DestinationStream {
  return pino.destination({ dest: 2, sync: true }).on('error', () => {});
}
