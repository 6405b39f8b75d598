// SPDX-License-Identifier: Apache-2.0
import { timingSafeEqual } from 'node:crypto';
import { createHmacSha256 } from './hmac.ts';

/** `req_` + base64url of 24 bytes: UUIDv7, then 8 bytes of MAC. 24 bytes have exactly one base64url form. */
const TICKET = /^req_[A-Za-z0-9_-]{32}$/;
const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const UUID_BYTES = 16;
const MAC_BYTES = 8;

/** Whom a ticket is for: in any other app or tenant it is as unknown as one that was never issued. */
export interface TicketScope {
  readonly appUid: string;
  readonly tenant: string;
}

export interface Tickets {
  /** `id`: the request's UUIDv7. */
  mint(scope: TicketScope, id: string): string;
  /** The request's id, or undefined when the ticket is malformed or not for this scope. No look-up, constant time. */
  verify(scope: TicketScope, ticket: string): string | undefined;
  /** The request's id in a ticket, or a bare id itself; proves nothing. */
  idOf(name: string): string | undefined;
}

export function createTickets(key: Uint8Array): Tickets {
  const hmac = createHmacSha256(key);
  const mac = ({ appUid, tenant }: TicketScope, uuid: Uint8Array): Buffer =>
    // NUL cannot occur in a uid or tenant name, so no two scopes run together.
    Buffer.from(hmac(Buffer.concat([Buffer.from(`${appUid}\0${tenant}\0`), uuid])).slice(0, 2 * MAC_BYTES), 'hex');

  return {
    mint: (scope, id) => {
      const uuid = Buffer.from(id.replaceAll('-', ''), 'hex');
      return `req_${Buffer.concat([uuid, mac(scope, uuid)]).toString('base64url')}`;
    },
    verify: (scope, ticket) => {
      if (!TICKET.test(ticket)) return undefined;
      const bytes = Buffer.from(ticket.slice(4), 'base64url');
      const uuid = bytes.subarray(0, UUID_BYTES);
      return timingSafeEqual(bytes.subarray(UUID_BYTES), mac(scope, uuid)) ? formatUuid(uuid) : undefined;
    },
    idOf: (name) => {
      if (UUID.test(name)) return name;
      return TICKET.test(name)
        ? formatUuid(Buffer.from(name.slice(4), 'base64url').subarray(0, UUID_BYTES))
        : undefined;
    },
  };
}

function formatUuid(bytes: Buffer): string {
  const hex = bytes.toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
