// SPDX-License-Identifier: Apache-2.0
import { expect, it } from 'vitest';
import { FrameReader, encodeFrame } from './frames.ts';
import type { Message } from './protocol.ts';

const MESSAGES: readonly Message[] = [
  { head: { re: 1, ok: true, batchSize: 8 }, parts: [] },
  {
    head: { re: 2, ok: true, answers: [{ contentType: 'text/plain' }, { contentType: 'x/ü' }] },
    parts: [Buffer.from('one'), Buffer.alloc(0)],
  },
  { head: { re: 3, ok: false, error: { kind: 'input', message: 'no' } }, parts: [] },
];

it.each([1, 2, 3, 7, 64, 100_000])('messages survive being cut into pieces of %i bytes', (size) => {
  const bytes = Buffer.concat(MESSAGES.flatMap(encodeFrame));
  const reader = new FrameReader();
  const read: Message[] = [];
  for (let at = 0; at < bytes.length; at += size) read.push(...reader.push(bytes.subarray(at, at + size)));
  expect(read.map(({ head, parts }) => ({ head, parts: parts.map((part) => Buffer.from(part).toString()) }))).toEqual(
    MESSAGES.map(({ head, parts }) => ({ head, parts: parts.map((part) => Buffer.from(part).toString()) })),
  );
});

it.each([
  ['text on the pipe', Buffer.from('Traceback (most recent call last)')],
  ['a head that is too long', Buffer.from('ffffffff00000000', 'hex')],
  ['too many parts', Buffer.from('00000002000001017b7d', 'hex')],
  ['a part that is too long', Buffer.from('00000002000000017b7dffffffff', 'hex')],
])('%s is no message', (_name, bytes) => {
  expect(() => new FrameReader().push(bytes)).toThrow('something that is no message');
});
