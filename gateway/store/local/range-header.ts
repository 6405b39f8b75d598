// SPDX-License-Identifier: Apache-2.0
import { storeError } from '../errors.ts';
import type { ByteRange } from '../object-store.ts';

/**
 * The one range of a Range header, or undefined when the whole object is the answer: no header, a unit or syntax we do not know,
 * several ranges (RFC 9110 §14.2 lets a server ignore all of these).
 * @throws StoreError `bad-range` for a suffix that can match no byte
 */
export function parseRange(header: string | undefined, bytes: number): ByteRange | undefined {
  const match = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header?.trim() ?? '');
  const [, first = '', last = ''] = match ?? [];
  if (first === '' && last === '') return undefined;
  if (first === '') return suffix(Number(last), bytes);
  if (last === '') return { start: Number(first) };
  // A last byte before the first makes the whole header invalid, hence ignored (§14.1.1).
  return Number(last) < Number(first) ? undefined : { start: Number(first), end: Number(last) };
}

function suffix(length: number, bytes: number): ByteRange {
  if (length === 0 || bytes === 0)
    throw storeError('bad-range', `the last ${length} bytes of ${bytes} are none`, { field: 'header:Range' });
  return { start: Math.max(0, bytes - length) };
}
