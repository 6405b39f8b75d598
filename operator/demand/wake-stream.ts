// SPDX-License-Identifier: Apache-2.0
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { isObject } from '#base/json.ts';
import { WAKE_HEARTBEAT_MS } from '#base/wire/demand.ts';
import { operatorError } from '../errors.ts';

/** Heartbeats that may be missed: one is jitter, two a slow gateway, three a connection that nobody holds any more. */
const MISSED_HEARTBEATS = 3;

/**
 * Reads `wake` events (text/event-stream, WHATWG HTML §9.2) until the stream ends, throws, or stays silent for three heartbeats.
 * @param onWake gets the uid of an app whose queue got ready work, whether it has units or not
 */
export async function readWakeUps(
  body: Readable,
  onWake: (appUid: string) => void,
  signal: AbortSignal,
  silenceMs: number = MISSED_HEARTBEATS * WAKE_HEARTBEAT_MS,
): Promise<void> {
  const silent = (): void => {
    body.destroy(operatorError('gateway-unreachable', `the gateway's wake-up stream was silent for ${silenceMs} ms`));
  };
  let timer = setTimeout(silent, silenceMs);
  const abort = (): void => void body.destroy();
  signal.addEventListener('abort', abort, { once: true });
  let event = '';
  try {
    // readline buffers a line without end; the gateway is ours, and the silence limit bounds how long it may take.
    for await (const line of createInterface({ input: body, crlfDelay: Number.POSITIVE_INFINITY })) {
      clearTimeout(timer);
      timer = setTimeout(silent, silenceMs);
      if (line.startsWith('event:')) event = line.slice('event:'.length).trim();
      else if (line.startsWith('data:') && event === 'wake') wake(line.slice('data:'.length), onWake);
      else if (line === '') event = '';
    }
    if (body.errored !== null) throw body.errored;
  } catch (err) {
    if (!signal.aborted) throw err;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', abort);
    body.destroy();
  }
}

function wake(data: string, onWake: (appUid: string) => void): void {
  let parsed: unknown;
  try {
    parsed = JSON.parse(data);
  } catch (err) {
    throw operatorError('gateway-malformed', 'a wake-up of the gateway is no JSON', err);
  }
  const app = isObject(parsed) ? parsed['app'] : undefined;
  if (typeof app !== 'string') throw operatorError('gateway-malformed', 'a wake-up of the gateway names no app');
  onWake(app);
}
