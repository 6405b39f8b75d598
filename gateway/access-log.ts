// SPDX-License-Identifier: Apache-2.0
import { pino } from 'pino';
import { createLineLogger } from '#base/logger.ts';
import type { Logger } from '#base/logger.ts';

/** Some 200 lines: a write wakes a thread of the pool, and costs an answer more than its line does. */
const BUFFER_BYTES = 64 * 1024;
const WRITE_BYTES = 256 * 1024;
/** Nobody reads: lines are dropped before they take the gateway's memory. */
const PENDING_BYTES = 16 * 1024 * 1024;
const FLUSH_MS = 1_000;

export interface AccessLog {
  readonly logger: Logger;
  /** Writes what is left. */
  close(): void;
}

/**
 * One line per answer on standard error, no answer left out: written off the event loop, in large pieces, at the latest after a second.
 * An access line is worth less than the write(2) that it would cost its answer.
 */
export function openAccessLog(enabled: boolean): AccessLog {
  const destination = pino.destination({
    dest: 2,
    sync: false,
    minLength: BUFFER_BYTES,
    maxWrite: WRITE_BYTES,
    maxLength: PENDING_BYTES,
    periodicFlush: FLUSH_MS,
  });
  return {
    logger: createLineLogger('access', enabled ? 'info' : 'silent', destination),
    close: () => destination.flushSync(),
  };
}
