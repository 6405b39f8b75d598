// SPDX-License-Identifier: Apache-2.0
import { VramError } from './errors.ts';

/** What is written `unlimited` in a limit. */
export const UNLIMITED = 'unlimited';

/** Decimal and binary units. Single letters stand for both in the wild, so they stand for nothing here. */
const UNITS: Readonly<Record<string, bigint>> = {
  '': 1n,
  b: 1n,
  kb: 10n ** 3n,
  mb: 10n ** 6n,
  gb: 10n ** 9n,
  tb: 10n ** 12n,
  kib: 2n ** 10n,
  mib: 2n ** 20n,
  gib: 2n ** 30n,
  tib: 2n ** 40n,
  ki: 2n ** 10n,
  mi: 2n ** 20n,
  gi: 2n ** 30n,
  ti: 2n ** 40n,
};
const SIZE = /^([0-9]{1,18})(?:\.([0-9]{1,9}))? ?([A-Za-z]{0,3})$/;
const BINARY = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const;

/**
 * Bytes of `128MB` (10^6), `4GiB` (2^30), `1.5GiB`, `4Gi` (as in Kubernetes), `4096`. Part of a byte is dropped.
 * @throws VramError `usage` naming `option`
 */
export function parseSize(text: string, option: string): number {
  const match = SIZE.exec(text.trim());
  const unit = UNITS[match?.[3]?.toLowerCase() ?? '-'];
  if (match === null || unit === undefined) throw wrong(option, text, hint(match?.[3], match?.[1]));
  const [, whole = '0', fraction = ''] = match;
  const bytes = (BigInt(whole + fraction) * unit) / 10n ** BigInt(fraction.length);
  if (bytes < 1n) throw wrong(option, text, 'a size is at least one byte');
  if (bytes > BigInt(Number.MAX_SAFE_INTEGER)) throw wrong(option, text, 'no card is larger than 8 PiB');
  return Number(bytes);
}

function hint(unit: string | undefined, digits: string | undefined): string {
  if (unit !== undefined && /^[kmgt]$/i.test(unit)) {
    const letter = unit.toUpperCase();
    return `${unit} alone means both; write ${digits}${letter}B (powers of 1000) or ${digits}${letter}iB (powers of 1024)`;
  }
  return 'write a size such as 4GiB (2^30 each), 128MB (10^6 each) or plain bytes';
}

function wrong(option: string, text: string, fix: string): VramError {
  return new VramError('usage', `${option}: ${JSON.stringify(text)} is not a size`, { fix });
}

/** `4GiB`, `1.5GiB`, `122.07MiB`: binary units with two decimals at most, as it can be typed again. */
export function formatSize(bytes: number): string {
  const negative = bytes < 0;
  let value = Math.abs(bytes);
  let unit = 0;
  while (value >= 1024 && unit < BINARY.length - 1) {
    value /= 1024;
    unit += 1;
  }
  // 1023.999 of a unit is shown as 1024 of it, and not as 1 of the next.
  return `${negative ? '-' : ''}${Number(value.toFixed(2))}${BINARY[unit] ?? 'B'}`;
}
