// SPDX-License-Identifier: Apache-2.0
import type { Redis } from 'ioredis';
import type { Logger } from '#base/logger.ts';
import type { QueueEvent } from '../lease-queue.ts';
import { unpackId } from './codec.ts';

const ID_BYTES = 16;
const READY = 0x72; // 'r'
const COLON = 0x3a;

/** One subscription of this process to the queue's channel, whatever the number of listeners; opened by the first of them. */
export class WakeUps {
  readonly #subscriber: Redis;
  readonly #channel: string;
  readonly #logger: Logger;
  readonly #listeners = new Set<(event: QueueEvent) => void>();
  #subscribed = false;

  /** @param subscriber a connection of its own: a subscribed one takes no other calls */
  constructor(subscriber: Redis, channel: string, logger: Logger) {
    this.#subscriber = subscriber;
    this.#channel = channel;
    this.#logger = logger;
    subscriber.on('messageBuffer', (_channel: Buffer, message: Buffer) => {
      for (const event of decodeEvents(message)) this.#deliver(event);
    });
  }

  listen(listener: (event: QueueEvent) => void): () => void {
    this.#listeners.add(listener);
    this.#subscribe();
    return () => this.#listeners.delete(listener);
  }

  close(): void {
    this.#listeners.clear();
    this.#subscriber.disconnect();
  }

  /** The connection waits for its server as long as it takes and subscribes again by itself; until then listeners live on their re-check. */
  #subscribe(): void {
    if (this.#subscribed) return;
    this.#subscribed = true;
    this.#subscriber.subscribe(this.#channel).catch((error: unknown) => {
      this.#subscribed = false;
      this.#logger.warn({ err: error }, 'no wake-ups from Redis');
    });
  }

  #deliver(event: QueueEvent): void {
    for (const listener of this.#listeners) {
      try {
        listener(event);
      } catch (error) {
        this.#logger.error({ err: error }, 'a listener of the queue threw');
      }
    }
  }
}

/** 'r' and the app; or 'd', the app, ':' and 16 bytes for each id. */
export function decodeEvents(message: Buffer): QueueEvent[] {
  if (message[0] === READY) return [{ type: 'ready', app: message.toString('utf8', 1) }];
  const colon = message.indexOf(COLON);
  const app = message.toString('utf8', 1, colon);
  const events: QueueEvent[] = [];
  for (let at = colon + 1; at + ID_BYTES <= message.length; at += ID_BYTES) {
    events.push({ type: 'done', app, id: unpackId(message.subarray(at, at + ID_BYTES)) });
  }
  return events;
}
