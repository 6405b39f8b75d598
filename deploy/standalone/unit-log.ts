// SPDX-License-Identifier: Apache-2.0
import { createWriteStream } from 'node:fs';
import type { Readable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { isObject } from '#base/json.ts';

/** What one unit may write to its log: a handler in a loop must not fill the disk. */
const LOG_LIMIT_BYTES = 8 * 1024 * 1024;
/** Longest line of a handler that is told whole. */
const LINE_CHARS = 4096;
/** The end of the log that is kept at hand: an error with its stack and its causes. */
const TAIL_CHARS = 16 * 1024;
/** Part of it that goes into a message for people. */
const SENTENCE_CHARS = 400;
/** Lines of what a handler printed that are shown when the unit itself has not said why it ended. */
const PLAIN_LINES = 3;

export interface UnitLog {
  /** Why the unit ended, as far as its log says so. */
  readonly lastWords: () => string;
  /** Resolves when its file is written and closed. */
  readonly kept: Promise<void>;
}

/**
 * Keeps a unit's standard error in a file: JSON lines of the runtime, and between them whatever handlers print, which is told line by
 * line as well, up to the same limit.
 */
export function keepLog(stream: Readable, file: string, onPrint: (line: string) => void): UnitLog {
  const log = createWriteStream(file, { mode: 0o600 });
  // A full disk must not end the process that everyone's requests go through.
  log.on('error', () => {});
  let written = 0;
  let tail = '';
  let partial = '';
  stream.setEncoding('utf8');
  stream.on('data', (chunk: string) => {
    tail = (tail + chunk).slice(-TAIL_CHARS);
    if (written < LOG_LIMIT_BYTES) {
      log.write(chunk);
      partial = tellLines(partial + chunk, onPrint);
    }
    written += Buffer.byteLength(chunk);
  });
  stream.on('close', () => log.end());
  const kept = finished(log).catch(() => {});
  return { lastWords: () => lastWords(tail), kept };
}

/** Tells the whole lines that are not the runtime's, and answers the rest. */
function tellLines(text: string, onPrint: (line: string) => void): string {
  const lines = text.split('\n');
  const rest = lines.pop() ?? '';
  for (const line of lines) {
    if (line.trim() !== '' && !line.startsWith('{')) onPrint(line.slice(0, LINE_CHARS));
  }
  return rest.slice(0, LINE_CHARS);
}

/** The last error that the runtime logged, else the last lines that somebody printed. */
export function lastWords(text: string): string {
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  const error = lines.map(errorIn).findLast((sentence) => sentence !== undefined);
  if (error !== undefined) return error.length > SENTENCE_CHARS ? `${error.slice(0, SENTENCE_CHARS)}…` : error;
  const plain = lines.filter((line) => !line.startsWith('{'));
  const said = plain.slice(-PLAIN_LINES).join(' / ');
  return said.length > SENTENCE_CHARS ? `…${said.slice(-SENTENCE_CHARS)}` : said;
}

function errorIn(line: string): string | undefined {
  let entry: unknown;
  try {
    entry = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (!isObject(entry) || entry['level'] !== 'error') return undefined;
  const { msg, err } = entry;
  const what = isObject(err) ? err['message'] : err;
  return typeof what === 'string' ? what : String(msg);
}
