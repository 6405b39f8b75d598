// SPDX-License-Identifier: Apache-2.0
import type { Clock } from './clock.ts';
import type { Random } from './random.ts';

/** UUID version 7 (RFC 9562 §5.7): 48 bits of Unix milliseconds, then randomness; sorts by time of creation. */
export function uuid7(clock: Clock, random: Random): string {
  const bytes = Buffer.allocUnsafe(16);
  bytes.writeUIntBE(clock.now(), 0, 6);
  bytes.set(random.bytes(10), 6);
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x70;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const hex = bytes.toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

/** Creation time (Unix ms) that a version-7 UUID carries, or undefined when the string is none. */
export function uuid7Time(uuid: string): number | undefined {
  if (!/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(uuid)) return undefined;
  return Number.parseInt(uuid.slice(0, 8) + uuid.slice(9, 13), 16);
}
