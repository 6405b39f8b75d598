// SPDX-License-Identifier: Apache-2.0
import { pino } from 'pino';
import type { Clock } from './clock.ts';
import type { LogFields, Logger } from './logger.ts';

/** Some 300 lines: a write wakes a thread of the pool, and costs an answer more than its line does. */
const BUFFER_CHARS = 64 * 1024;
/** Nobody reads: lines are dropped before they take the process's memory. */
const PENDING_BYTES = 16 * 1024 * 1024;
const WRITE_BYTES = 256 * 1024;
const FLUSH_MS = 1_000;

/** `info` alone, the only level of a line that tells of each answer. */
export type LineLogger = Pick<Logger, 'info'>;

export interface LineLog {
  readonly logger: LineLogger;
  /** Writes what is left. */
  close(): void;
}

export const NO_LINE_LOG: LineLog = { logger: { info: () => {} }, close: () => {} };

/**
 * JSON lines on standard error for what happens thousands of times a second, none left out: written off the event loop, in large pieces, at
 * the latest after a second. Not by the logger of everything else: the fields are a closed set that can hold neither credential nor body,
 * so nothing need be searched for what must be censored, and that would take ten times as long as the line.
 */
export function openLineLog(component: string, clock: Pick<Clock, 'now'>): LineLog {
  const destination = pino.destination({ dest: 2, sync: false, maxWrite: WRITE_BYTES, maxLength: PENDING_BYTES });
  const lines = new LineBuffer((text) => destination.write(text));
  const timer = setInterval(() => lines.flush(), FLUSH_MS).unref();
  return {
    logger: lineLogger(component, clock, (line) => lines.add(line)),
    close: () => {
      clearInterval(timer);
      lines.flush();
      destination.flushSync();
    },
  };
}

/** Lines as the other logs have them: level, time, component, fields, msg. */
export function lineLogger(component: string, clock: Pick<Clock, 'now'>, write: (line: string) => void): LineLogger {
  let at = Number.NaN;
  let time = '';
  return {
    info: (fields: LogFields, msg: string) => {
      const now = clock.now();
      // The same time stands in many lines of one millisecond.
      if (now !== at) {
        at = now;
        time = new Date(now).toISOString();
      }
      write(JSON.stringify({ level: 'info', time, component, ...fields, msg }));
    },
  };
}

class LineBuffer {
  readonly #write: (text: string) => void;
  #lines: string[] = [];
  #chars = 0;

  constructor(write: (text: string) => void) {
    this.#write = write;
  }

  add(line: string): void {
    this.#chars += line.length + 1;
    this.#lines.push(line);
    if (this.#chars >= BUFFER_CHARS) this.flush();
  }

  flush(): void {
    if (this.#lines.length === 0) return;
    const text = `${this.#lines.join('\n')}\n`;
    this.#lines = [];
    this.#chars = 0;
    this.#write(text);
  }
}
