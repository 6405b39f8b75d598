// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { Command } from 'ioredis';
import type { Redis } from 'ioredis';
import { QueueError } from '../errors.ts';

/** A replica or a demoted primary; one that reads its data; one that has lost its primary. */
const AWAY = /^(?:READONLY|LOADING|MASTERDOWN)\b/;
/** One that runs a script for longer than `busy-reply-threshold`: it serves again when that one ends, over the same connection. */
const BUSY = /^BUSY\b/;
/** Pauses between the repeats double; together some six seconds, as long as a call waits for a lost connection. */
const FIRST_PAUSE_MS = 25;
const LAST_PAUSE_MS = 3_200;

export type Argument = string | number | Buffer;

/** What running scripts needs of a connection. */
export type ScriptServer = Pick<Redis, 'sendCommand' | 'stream'>;

export interface Script {
  readonly text: string;
  readonly sha: string;
}

/**
 * @param text Lua without its head line
 * @param more whether the script brings new work: the others run also where Redis is at its maxmemory, or what is there could never be
 * worked off. Refused ones have changed nothing: their first write is.
 */
export function script(text: string, more: 'adds work' | 'goes on when full' = 'goes on when full'): Script {
  const whole = more === 'adds work' ? text : `#!lua flags=allow-oom\n${text}`;
  return { text: whole, sha: createHash('sha1').update(whole).digest('hex') };
}

/**
 * Runs a script by its SHA on one key; loads it and runs it again where the server does not know it (a fresh server, SCRIPT FLUSH, a
 * failover): NOSCRIPT is answered before anything has run, so the repeat is safe.
 * @throws QueueError `unavailable` when Redis does not answer or refuses
 */
export async function runScript(
  redis: ScriptServer,
  { text, sha }: Script,
  key: string,
  args: readonly Argument[],
): Promise<unknown> {
  try {
    return await patiently(async () => {
      try {
        return await send(redis, 'evalsha', [sha, 1, key, ...args]);
      } catch (error) {
        if (!isNoScript(error)) throw error;
        return await send(redis, 'eval', [text, 1, key, ...args]);
      }
    });
  } catch (error) {
    throw unavailable(error);
  }
}

/**
 * Makes a call again while the server answers that another one is the primary, or that it is not ready yet (the connection is made anew
 * meanwhile), or that a script keeps it busy. All these are answered before the call has changed anything, so the repeat is safe.
 */
export async function patiently<T>(call: () => Promise<T>): Promise<T> {
  for (let pause = FIRST_PAUSE_MS; ; pause *= 2) {
    try {
      return await call();
    } catch (error) {
      if (pause > LAST_PAUSE_MS || !(isAway(error) || isBusy(error))) throw error;
    }
    await delay(pause);
  }
}

/** Answers of a server that is not the primary, or not yet one that serves. */
export function isAway(error: unknown): boolean {
  return error instanceof Error && AWAY.test(error.message);
}

function isBusy(error: unknown): boolean {
  return error instanceof Error && BUSY.test(error.message);
}

/** Strings of the answer stay buffers: bodies are bytes. */
function send(redis: ScriptServer, name: 'eval' | 'evalsha', args: readonly Argument[]): Promise<unknown> {
  const command = new Command(name, [...args], { replyEncoding: null });
  gather(redis);
  redis.sendCommand(command);
  return command.promise;
}

/**
 * All calls of one turn leave in one write: fewer system calls here, and Redis runs and syncs them as one batch (one fsync of its log).
 * The next tick comes after the microtasks that send the other calls.
 */
function gather({ stream }: ScriptServer): void {
  if (stream === undefined || stream.writableCorked > 0) return;
  stream.cork();
  process.nextTick(() => stream.uncork());
}

export function unavailable(error: unknown): QueueError {
  const reason = error instanceof Error ? error.message : String(error);
  return new QueueError('unavailable', `Redis: ${reason}`, { cause: error });
}

function isNoScript(error: unknown): boolean {
  return error instanceof Error && error.message.startsWith('NOSCRIPT');
}
