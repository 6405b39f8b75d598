// SPDX-License-Identifier: Apache-2.0
import { createHmac, timingSafeEqual } from 'node:crypto';

const MAC_BYTES = 8;
const CURSOR_MAX_CHARS = 512;

/** Places in a list, handed out and taken back: the queue's own text goes out sealed, so that no driver reads a client's. */
export interface Cursors {
  seal(appUid: string, place: string): string;
  /** Undefined when it was not made by this fleet for this app. */
  open(appUid: string, cursor: string): string | undefined;
}

export function createCursors(key: Uint8Array): Cursors {
  const mac = (appUid: string, place: string): Buffer =>
    createHmac('sha256', key).update(`cursor\0${appUid}\0${place}`).digest().subarray(0, MAC_BYTES);
  return {
    seal: (appUid, place) => Buffer.concat([mac(appUid, place), Buffer.from(place)]).toString('base64url'),
    open: (appUid, cursor) => {
      if (cursor.length > CURSOR_MAX_CHARS || !/^[A-Za-z0-9_-]+$/.test(cursor)) return undefined;
      const bytes = Buffer.from(cursor, 'base64url');
      if (bytes.length <= MAC_BYTES) return undefined;
      const place = bytes.subarray(MAC_BYTES).toString('utf8');
      return timingSafeEqual(bytes.subarray(0, MAC_BYTES), mac(appUid, place)) ? place : undefined;
    },
  };
}
