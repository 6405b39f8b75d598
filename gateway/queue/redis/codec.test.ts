// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { packId, unpackId } from './codec.ts';
import { decodeEvents } from './wake-ups.ts';

const ID = '0192f8a0-1b2c-7def-8abc-0123456789ab';

test('an id goes into 16 bytes and back; what is none goes nowhere', () => {
  const packed = packId(ID);
  expect(packed).toHaveLength(16);
  expect(unpackId(packed ?? Buffer.alloc(0))).toBe(ID);
  expect(['', 'x', ID.toUpperCase(), `${ID}0`, ID.replaceAll('-', '')].map(packId)).toEqual(Array(5).fill(undefined));
});

test('a message of the channel tells one app that work is there, or which requests have ended', () => {
  const id = packId(ID) ?? Buffer.alloc(0);
  expect(decodeEvents(Buffer.from('rapp-1'))).toEqual([{ type: 'ready', app: 'app-1' }]);
  expect(decodeEvents(Buffer.concat([Buffer.from('dapp-1:'), id, id]))).toEqual([
    { type: 'done', app: 'app-1', id: ID },
    { type: 'done', app: 'app-1', id: ID },
  ]);
});
