// SPDX-License-Identifier: Apache-2.0
import type { WireHeld } from '#base/wire/broker.ts';
import type { Held, LeaseToken } from '../queue/lease-queue.ts';

/** The lease token as workers carry it: `<epoch>.<nonce>`, opaque to them. */
export function formatLeaseToken({ epoch, nonce }: LeaseToken): string {
  return `${epoch}.${nonce}`;
}

/** Takes a token whose form the schema has checked. */
export function heldOf({ id, lease_token: token }: WireHeld): Held {
  const dot = token.indexOf('.');
  return { id, token: { epoch: Number(token.slice(0, dot)), nonce: token.slice(dot + 1) } };
}
