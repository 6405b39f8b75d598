// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { systemClock } from '#base/clock.ts';
import { seededRandom } from '#base/random.ts';
import { uuid7 } from '#base/uuid7.ts';
import { createTickets } from './ticket.ts';

const tickets = createTickets(new Uint8Array(32).fill(7));
const scope = { appUid: 'uid-1', tenant: 'one' };
const id = uuid7(systemClock, seededRandom(1));
const ticket = tickets.mint(scope, id);

test('a ticket gives back the id of its request, to its own app and tenant', () => {
  expect(ticket).toMatch(/^req_[A-Za-z0-9_-]{32}$/);
  expect(tickets.verify(scope, ticket)).toBe(id);
});

test.each([
  ['another tenant', { ...scope, tenant: 'two' }],
  ['another app', { ...scope, appUid: 'uid-2' }],
  ['a scope that reads the same when run together', { appUid: 'uid-', tenant: '1one' }],
])('a ticket is unknown to %s', (_name, other) => {
  expect(tickets.verify(other, ticket)).toBeUndefined();
});

test('a ticket of another key is unknown', () => {
  expect(createTickets(new Uint8Array(32).fill(8)).verify(scope, ticket)).toBeUndefined();
});

test('a ticket with any one character changed is unknown', () => {
  for (let i = 4; i < ticket.length; i++) {
    const changed = ticket.slice(0, i) + (ticket[i] === 'A' ? 'B' : 'A') + ticket.slice(i + 1);
    expect(tickets.verify(scope, changed)).toBeUndefined();
  }
});

test.each([
  '',
  'req_',
  ticket.slice(4),
  `${ticket}A`,
  ticket.slice(0, -1),
  ticket.replace('req_', 'REQ_'),
  `${ticket}\n`,
])('no ticket at all: %j', (text) => {
  expect(tickets.verify(scope, text)).toBeUndefined();
});
