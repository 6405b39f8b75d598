// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { formatDuration, parseDuration } from './durations.ts';
import { formatLimit, parseLimits, sameLimits, uuidBytes } from './limits.ts';
import { formatSize, parseSize } from './sizes.ts';

test.each([
  ['4GiB', 4 * 2 ** 30],
  ['4Gi', 4 * 2 ** 30],
  ['128MB', 128_000_000],
  ['128mb', 128_000_000],
  ['128 MiB', 128 * 2 ** 20],
  ['1.5GiB', 1.5 * 2 ** 30],
  ['0.1GiB', 107_374_182],
  ['64kB', 64_000],
  ['64KiB', 65_536],
  ['2TB', 2e12],
  ['4096', 4096],
  ['7B', 7],
])('%s is %i bytes', (text, bytes) => {
  expect(parseSize(text, '--limit')).toBe(bytes);
});

test.each([
  '',
  '0',
  '0.0001B',
  '-1GiB',
  '4G',
  '4g',
  '4X',
  '1e9',
  '0x10',
  '4GiBB',
  '1.GiB',
  '.5GiB',
  '9PiB',
  '99999999TiB',
  'GiB',
  '4GiB\n4',
])('%j is refused as a size', (text) => {
  expect(() => parseSize(text, '--limit')).toThrow(/--limit/);
});

test('a single letter is refused with both of its meanings', () => {
  expect(() => parseSize('4G', '--limit')).toThrow(
    expect.objectContaining({ fix: expect.stringMatching(/4GB .*1000.*4GiB .*1024/) }),
  );
});

test.each([
  [0, '0B'],
  [1023, '1023B'],
  [1024, '1KiB'],
  [4 * 2 ** 30, '4GiB'],
  [1.5 * 2 ** 30, '1.5GiB'],
  [128_000_000, '122.07MiB'],
])('%i bytes read %s', (bytes, text) => {
  expect(formatSize(bytes)).toBe(text);
});

test.each([
  ['90', 90],
  ['90s', 90],
  ['15m', 900],
  ['2h', 7200],
  ['7d', 604_800],
])('%s is %i seconds', (text, seconds) => {
  expect(parseDuration(text, '--ttl')).toBe(seconds);
});

test.each(['', '0', '-5', '1.5h', '5w', '99999d', 'h', '1h30m'])('%j is refused as a time', (text) => {
  expect(() => parseDuration(text, '--ttl')).toThrow(/--ttl/);
});

test('times read in their two largest units', () => {
  expect([0, 45, 3600, 12_060, 525_600].map(formatDuration)).toEqual(['0s', '45s', '1h', '3h 21m', '6d 2h']);
});

const UUID = 'GPU-8a5c2b1e-0123-4567-89ab-cdef01234567';

test('limits name each GPU, some of them, or all', () => {
  expect(parseLimits(['4GiB'], [], 16)).toEqual([{ device: '*', limit: 2 ** 32 }]);
  expect(parseLimits(['4GiB'], ['1', UUID], 16).map(({ device }) => device)).toEqual(['1', UUID]);
  expect(parseLimits(['0=4GiB', `${UUID.toUpperCase()}=unlimited`], [], 16)).toEqual([
    { device: '0', limit: 2 ** 32 },
    { device: UUID, limit: null },
  ]);
});

test.each([
  [['4GiB', '2GiB'], []],
  [['0=4GiB', '00=2GiB'], []],
  [['0=4GiB'], ['1']],
  [['x=4GiB'], []],
  [['4GiB'], ['-1']],
  [['4GiB'], ['256']],
  [['4GiB'], Array.from({ length: 17 }, (_, n) => String(n))],
])('limits %j for devices %j are refused', (limits, devices) => {
  expect(() => parseLimits(limits, devices, 16)).toThrow(expect.objectContaining({ code: 'usage' }));
});

test('a limit is written as it can be typed, and compares whatever the order', () => {
  const limits = parseLimits(['0=4GiB', '1=128MB', '2=1234567', '3=unlimited'], [], 16);
  expect(limits.map(formatLimit)).toEqual(['0=4GiB', '1=128MB', '2=1234567', '3=unlimited']);
  expect(sameLimits(limits, limits.toReversed())).toBe(true);
  expect(sameLimits(limits, limits.slice(1))).toBe(false);
});

test('a UUID is sixteen bytes, an ordinal none', () => {
  expect(Buffer.from(uuidBytes(UUID) ?? []).toString('hex')).toBe('8a5c2b1e0123456789abcdef01234567');
  expect(uuidBytes('0')).toBeUndefined();
});
