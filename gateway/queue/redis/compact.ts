// SPDX-License-Identifier: Apache-2.0
/**
 * Strings in few bytes: what the driver keeps of a request next to its body is stored a million times. Runs of hex digits (digests,
 * trace ids) take half of their length. A string is its number of parts, then parts by turns plain and hex, each with its length.
 */
const HEX_RUN = /((?:[0-9a-f]{2}){8,})/;
/** Lengths below take one byte, larger ones two. */
const SHORT = 0x80;
const BYTES_PER_CHAR = 3;
const LENGTH_BYTES = 2;

/** Puts the strings into one value: length of them all, strings, bytes. */
export function compact(strings: readonly string[], bytes: Uint8Array | undefined): Buffer {
  const most = strings.reduce((sum, one) => sum + one.length * BYTES_PER_CHAR + 2 * LENGTH_BYTES, LENGTH_BYTES);
  const value = Buffer.allocUnsafe(most + (bytes?.byteLength ?? 0));
  let end = LENGTH_BYTES;
  for (const one of strings) end = putString(value, end, one);
  value.writeUInt16BE(end - LENGTH_BYTES, 0);
  if (bytes === undefined) return value.subarray(0, end);
  value.set(bytes, end);
  return value.subarray(0, end + bytes.byteLength);
}

/** @throws RangeError when the value is cut short */
export function expand(value: Buffer): { readonly strings: readonly string[]; readonly bytes: Buffer } {
  const end = LENGTH_BYTES + value.readUInt16BE(0);
  const strings: string[] = [];
  const cursor = { at: LENGTH_BYTES };
  while (cursor.at < end) strings.push(takeString(value, cursor));
  return { strings, bytes: value.subarray(end) };
}

function putString(to: Buffer, start: number, text: string): number {
  // The pieces that split() captures, the runs, have odd places.
  const parts = text.split(HEX_RUN);
  if (parts.at(-1) === '') parts.pop();
  let at = putLength(to, start, parts.length);
  for (const [i, part] of parts.entries()) {
    const isHex = i % 2 === 1;
    at = putLength(to, at, isHex ? part.length / 2 : Buffer.byteLength(part));
    at += to.write(part, at, isHex ? 'hex' : 'utf8');
  }
  return at;
}

function takeString(from: Buffer, cursor: { at: number }): string {
  let text = '';
  const parts = takeLength(from, cursor);
  for (let i = 0; i < parts; i++) {
    const size = takeLength(from, cursor);
    text += from.toString(i % 2 === 1 ? 'hex' : 'utf8', cursor.at, cursor.at + size);
    cursor.at += size;
  }
  return text;
}

function putLength(to: Buffer, at: number, length: number): number {
  if (length < SHORT) return to.writeUInt8(length, at);
  return to.writeUInt16BE(length + SHORT * 0x100, at);
}

function takeLength(from: Buffer, cursor: { at: number }): number {
  const first = from.readUInt8(cursor.at);
  if (first < SHORT) {
    cursor.at++;
    return first;
  }
  cursor.at += 2;
  return from.readUInt16BE(cursor.at - 2) - SHORT * 0x100;
}
