// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import type { Shutdown } from '#base/shutdown.ts';

/** As shells say it: 128 + SIGINT. */
const EXIT_INTERRUPTED = 130;
/** Bit of SIGHUP in the masks of proc(5). */
const SIGHUP_BIT = 1n;

/**
 * What a person at a terminal expects beyond SIGTERM and SIGINT: closing the terminal stops the program in order too, and Ctrl-C once
 * more ends it at once (units end with it, what was accepted is on disk).
 */
export function stopOnTerminal(shutdown: Shutdown): void {
  // Under nohup SIGHUP is ignored, and must stay so: a handler of ours would undo it.
  if (!ignoresHangup()) process.on('SIGHUP', () => shutdown.begin('SIGHUP'));
  // A terminal that is gone refuses every write; the log has nobody to go to, the requests still have.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});
  let interrupted = false;
  process.on('SIGINT', () => {
    if (interrupted) process.exit(EXIT_INTERRUPTED);
    interrupted = true;
  });
}

function ignoresHangup(): boolean {
  try {
    const mask = /^SigIgn:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0';
    return (BigInt(`0x${mask}`) & SIGHUP_BIT) !== 0n;
  } catch {
    return false;
  }
}
