// SPDX-License-Identifier: Apache-2.0
import { pino } from 'pino';
import type { DestinationStream } from 'pino';

/** Fixed key set of our log lines; a value is never a credential or a body. */
export type LogFields = Readonly<Record<string, unknown>>;

/** Structured logger: `info` is a change of state, `debug` the flow. */
export interface Logger {
  debug(fields: LogFields, message: string): void;
  info(fields: LogFields, message: string): void;
  warn(fields: LogFields, message: string): void;
  error(fields: LogFields, message: string): void;
  /** A logger whose lines all carry `fields`. */
  child(fields: LogFields): Logger;
}

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

const OPTIONS = {
  timestamp: isoTime(),
  formatters: { level: (label: string) => ({ level: label }) },
  serializers: { err: pino.stdSerializers.err },
};

/** What must never leave the process by the log, wherever a caller may have put it. */
const REDACTED = ['authorization', 'token', 'apiKey', 'body', '*.authorization', '*.token', '*.apiKey', '*.body'];

/** The same time is written into many lines of one millisecond. */
function isoTime(): () => string {
  let at = 0;
  let text = '';
  return () => {
    const now = Date.now();
    if (now !== at) {
      at = now;
      text = `,"time":"${new Date(now).toISOString()}"`;
    }
    return text;
  };
}

/** JSON lines on `destination` (default: stderr, since stdout belongs to the command's own output). */
export function createLogger(component: string, level: LogLevel, destination?: DestinationStream): Logger {
  return pino(
    { ...OPTIONS, level, base: { component }, redact: { paths: REDACTED, censor: '[redacted]' } },
    destination ?? pino.destination({ dest: 2, sync: true }),
  );
}

/**
 * For lines of a closed set of fields, none of which can hold a credential or a body: nothing is searched for what must be censored,
 * which would take longer than all else about a line.
 */
export function createLineLogger(component: string, level: LogLevel, destination: DestinationStream): Logger {
  return pino({ ...OPTIONS, level, base: { component } }, destination);
}

export const silentLogger: Logger = {
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: () => {},
  child: () => silentLogger,
};
