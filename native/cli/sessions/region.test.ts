// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { seededRandom } from '#base/random.ts';
import {
  CELL,
  DEVICES,
  HEADER,
  IDENTITY,
  LEDGER_SIZE,
  LIVE_BASE,
  SLOTS,
  cellOffset,
  identityOffset,
} from '#native/layout.ts';
import type { DeviceLimit } from '../limits.ts';
import { readLedger, shownDevices, slotsOf } from './ledger.ts';
import { parseRecord } from './record.ts';
import { makeControl, makeLedger, readControl, stateWord } from './region.ts';

const id = '00112233445566778899aabbccddeeff';
const uuid = 'GPU-8a5c2b1e-0123-4567-89ab-cdef01234567';
const plan = { id, report: 'limit', managed: 'charged' } as const;

test('a control page says what it was made from', () => {
  const limits = [
    { device: '0', limit: 2 ** 32 },
    { device: uuid, limit: null },
  ];
  const page = makeControl({ ...plan, limits });
  expect(readControl(page, 'control')).toEqual({ id, state: 'active', devices: limits });
  const { bytes, position } = stateWord('closed');
  page.set(bytes, position);
  expect(readControl(page, 'control').state).toBe('closed');
});

test('a limit stands in the page by UUID for each card that is known', () => {
  const other = uuid.replace('8a5c', '9b6d');
  const limits = [{ device: '*', limit: 5, cards: [uuid, other] }];
  expect(readControl(makeControl({ ...plan, limits }), 'control').devices).toEqual([
    { device: uuid, limit: 5 },
    { device: other, limit: 5 },
  ]);
});

test('an instance of a card is called one, where it was asked for as one', () => {
  const limits = [{ device: uuid.replace('GPU', 'MIG'), limit: 5 }];
  const page = makeControl({ ...plan, limits });
  expect(readControl(page, 'control', limits).devices).toEqual(limits);
});

test('a limit for each GPU is, where the cards are not known, a limit for as many as a page holds', () => {
  const { devices } = readControl(makeControl({ ...plan, limits: [{ device: '*', limit: 5 }] }), 'control');
  expect(devices).toHaveLength(DEVICES);
  expect(devices[15]).toEqual({ device: '15', limit: 5 });
});

test('what a process holds is what was lent to it and is not at hand', () => {
  const ledger = makeLedger(id);
  const view = new DataView(ledger.buffer);
  view.setBigUint64(cellOffset(0, 3) + CELL.fields.lease.offset, 100n, true);
  view.setBigUint64(cellOffset(0, 3) + CELL.fields.avail.offset, 30n, true);
  view.setUint32(identityOffset(3) + IDENTITY.fields.state.offset, 1, true);
  view.setUint32(identityOffset(3) + IDENTITY.fields.pid.offset, 4711, true);
  const devices = [{ device: '0', limit: 1000 }];
  expect(readLedger(ledger, devices, () => true).devices[0]).toMatchObject({
    usedBytes: 70,
    leasedBytes: 100,
    leftByDeadBytes: 0,
  });
  expect(readLedger(ledger, devices, () => false).devices[0]).toMatchObject({
    usedBytes: 0,
    leasedBytes: 100,
    leftByDeadBytes: 100,
  });
  expect(readLedger(ledger, devices, (slot) => slot === 3).processes).toEqual([
    { slot: 3, pid: 4711, name: '', alive: true, denials: 0, usedBytes: [70] },
  ]);
});

test('lock bytes outside the slots are none', () => {
  const base = Number(LIVE_BASE);
  expect([...slotsOf(new Set([0, 7, base - 1, base, base + 5, base + SLOTS]))]).toEqual([0, 5]);
});

test('of a limit for each GPU those are shown on which something happened, or the first', () => {
  const devices = [0, 1, 2].map((n) => ({ device: String(n), limit: 9 }));
  const ledger = makeLedger(id);
  const shown = (limits: readonly DeviceLimit[]): string[] =>
    shownDevices(
      readLedger(ledger, devices, () => true),
      limits,
    ).map(({ device }) => device);
  expect(shown(devices)).toEqual(['0', '1', '2']);
  expect(shown([{ device: '*', limit: 9 }])).toEqual(['0']);
  new DataView(ledger.buffer).setBigUint64(cellOffset(2, 0) + CELL.fields.lease.offset, 5n, true);
  expect(shown([{ device: '*', limit: 9 }])).toEqual(['2']);
});

test('a ledger that was scribbled on shows no more than the control page permits, and no control characters', () => {
  const random = seededRandom(5);
  const devices = [
    { device: '0', limit: 1000 },
    { device: '1', limit: null },
  ];
  for (let round = 0; round < 100; round += 1) {
    const ledger = new Uint8Array(round === 0 ? 0 : LEDGER_SIZE);
    // All ones, noise in the header and the first slots, or noise at some places.
    if (round === 1) ledger.fill(0xff);
    else ledger.set(random.bytes(Math.min(ledger.length, HEADER.size + 40 * IDENTITY.size)));
    const spots = round > 2 ? 2000 : 0;
    for (let at = 0; at < spots; at += 1) {
      const place = Math.floor(random.fraction() * ledger.length);
      ledger[place] = Math.floor(random.fraction() * 256);
    }
    const view = readLedger(ledger, devices, (slot) => slot % 2 === 0);
    for (const { limitBytes, usedBytes, leasedBytes, leftByDeadBytes, denials } of view.devices) {
      const most = Math.max(usedBytes, leasedBytes, leftByDeadBytes);
      expect(most).toBeLessThanOrEqual(limitBytes ?? Number.MAX_SAFE_INTEGER);
      expect(Math.min(usedBytes, leasedBytes, leftByDeadBytes, denials)).toBeGreaterThanOrEqual(0);
      expect([usedBytes, leasedBytes, leftByDeadBytes, denials].every(Number.isSafeInteger)).toBe(true);
    }
    expect(view.processes.length).toBeLessThanOrEqual(SLOTS);
    expect(view.processes.map(({ name }) => name).join('')).not.toMatch(/\p{C}/u);
  }
});

test('a control page or a record that is anything else is damage, by name, and never another error', () => {
  const random = seededRandom(7);
  const page = makeControl({ ...plan, limits: [{ device: '0', limit: 1 }] });
  const text = Buffer.from(
    JSON.stringify({
      version: 1,
      name: 'a',
      id,
      createdMs: 1,
      ttlSeconds: 1,
      ephemeral: false,
      limits: [{ device: '*', limit: 1 }],
      objects: [{ name: 'libpenstock_vram.so', size: 1, sha256: 'a'.repeat(64) }],
      runs: [],
    }),
  );
  expect(parseRecord(text, 'r').name).toBe('a');
  for (let round = 0; round < 2000; round += 1) {
    for (const [good, read] of [
      [page.slice(0, 256), (bytes: Uint8Array) => readControl(Buffer.concat([bytes, page.subarray(256)]), 'control')],
      [text, (bytes: Uint8Array) => parseRecord(bytes, 'session.json')],
    ] as const) {
      const bytes = Uint8Array.from(good);
      for (let flips = 0; flips < 1 + (round % 4); flips += 1)
        bytes[Math.floor(random.fraction() * bytes.length)] = Math.floor(random.fraction() * 256);
      expect(errorOf(() => read(bytes))).toMatch(/^(?:none|VramError damaged)$/);
    }
  }
});

function errorOf(read: () => unknown): string {
  try {
    read();
    return 'none';
  } catch (err) {
    return err instanceof Error && 'code' in err ? `${err.name} ${String(err.code)}` : String(err);
  }
}

test.each([
  ['[]', 'object'],
  ['{"version":2}', 'version'],
  ['{', 'JSON'],
  [`{"version":1,"name":"../x"}`, 'name'],
  [`{"version":1,"name":"x","id":"${id}","createdMs":1e300}`, 'createdMs'],
])('the record %s is damaged: %s', (text, what) => {
  expect(() => parseRecord(Buffer.from(text), 'session.json')).toThrow(what);
});
