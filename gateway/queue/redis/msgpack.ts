// SPDX-License-Identifier: Apache-2.0
export type Packed = number | string | boolean | null | readonly Packed[];

interface Cursor {
  readonly bytes: Buffer;
  at: number;
}

type Reader = (cursor: Cursor) => Packed;

/** Types by their first byte, as far as Redis' cmsgpack writes them for arrays of strings and numbers. */
const READERS: Readonly<Record<number, Reader>> = {
  0xc0: () => null,
  0xc2: () => false,
  0xc3: () => true,
  0xca: (c) => c.bytes.readFloatBE(take(c, 4)),
  0xcb: (c) => c.bytes.readDoubleBE(take(c, 8)),
  0xcc: (c) => c.bytes.readUInt8(take(c, 1)),
  0xcd: (c) => c.bytes.readUInt16BE(take(c, 2)),
  0xce: (c) => c.bytes.readUInt32BE(take(c, 4)),
  0xcf: (c) => Number(c.bytes.readBigUInt64BE(take(c, 8))),
  0xd0: (c) => c.bytes.readInt8(take(c, 1)),
  0xd1: (c) => c.bytes.readInt16BE(take(c, 2)),
  0xd2: (c) => c.bytes.readInt32BE(take(c, 4)),
  0xd3: (c) => Number(c.bytes.readBigInt64BE(take(c, 8))),
  0xd9: (c) => text(c, c.bytes.readUInt8(take(c, 1))),
  0xda: (c) => text(c, c.bytes.readUInt16BE(take(c, 2))),
  0xdb: (c) => text(c, c.bytes.readUInt32BE(take(c, 4))),
  0xdc: (c) => list(c, c.bytes.readUInt16BE(take(c, 2))),
};

/** Reads what cmsgpack.pack wrote, at the start of the bytes. Numbers are exact up to 2^53. @throws Error on any other type */
export function unpack(bytes: Buffer): { readonly value: Packed; readonly rest: Buffer } {
  const cursor = { bytes, at: 0 };
  const value = read(cursor);
  return { value, rest: bytes.subarray(cursor.at) };
}

function read(cursor: Cursor): Packed {
  const type = cursor.bytes.readUInt8(take(cursor, 1));
  if (type < 0x80) return type;
  if (type >= 0xe0) return type - 0x100;
  if (type >= 0xa0 && type < 0xc0) return text(cursor, type & 0x1f);
  if (type >= 0x90 && type < 0xa0) return list(cursor, type & 0x0f);
  const reader = READERS[type];
  if (reader === undefined) throw new Error(`a stored value has the unknown type 0x${type.toString(16)}`);
  return reader(cursor);
}

/** Answers where the next `size` bytes start, and steps over them. */
function take(cursor: Cursor, size: number): number {
  const start = cursor.at;
  cursor.at += size;
  return start;
}

function text(cursor: Cursor, size: number): string {
  const start = take(cursor, size);
  return cursor.bytes.toString('utf8', start, start + size);
}

function list(cursor: Cursor, size: number): Packed[] {
  return Array.from({ length: size }, () => read(cursor));
}
