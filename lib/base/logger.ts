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

/** What must never leave the process by the log, wherever a caller may have put it. */
const REDACTED = ['authorization', 'token', 'apiKey', 'body', '*.authorization', '*.token', '*.apiKey', '*.body'];

/** JSON lines on `destination` (default: stderr, since stdout belongs to the command's own output). */
export function createLogger(component: string, level: LogLevel, destination?: DestinationStream): Logger {
  return pino(
    {
      level,
      base: { component },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: REDACTED, censor: '[redacted]' },
      serializers: { err: pino.stdSerializers.err },
    },
    destination ?? pino.destination({ dest: 2, sync: true }),
  );
}

export const silentLogger: Logger = {
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: () => {},
  child: () => silentLogger,
};
