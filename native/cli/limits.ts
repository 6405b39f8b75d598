// SPDX-License-Identifier: Apache-2.0
import { VramError } from './errors.ts';
import { UNLIMITED, formatSize, parseSize } from './sizes.ts';

/** One GPU's share. `device`: `*` (each GPU), a number (`0`), or a UUID (`GPU-…`, `MIG-…`). `limit` null: unlimited. */
export interface DeviceLimit {
  readonly device: string;
  readonly limit: number | null;
}

export const EVERY_DEVICE = '*';
/** CUDA's own numbers stay far below. */
const MAX_ORDINAL = 255;
const ORDINAL = /^[0-9]{1,3}$/;
const DECIMAL = [
  [1e9, 'GB'],
  [1e6, 'MB'],
  [1e3, 'kB'],
] as const;
const UUID = /^(GPU-|MIG-)?([0-9a-f]{8})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{12})$/i;

/**
 * `--limit 4GiB` (each GPU), `--limit 4GiB --device 1`, `--limit 0=4GiB --limit GPU-…=2GiB`.
 * @throws VramError `usage`
 */
export function parseLimits(limits: readonly string[], devices: readonly string[], maxDevices: number): DeviceLimit[] {
  const parsed = limits.flatMap((text) => oneLimit(text, devices, limits.length));
  const seen = new Set<string>();
  for (const { device } of parsed) {
    if (seen.has(device)) throw usage(`device ${device} has two limits`, 'give each device one --limit');
    seen.add(device);
  }
  if (parsed.length > maxDevices) throw usage(`${parsed.length} devices`, `a session holds at most ${maxDevices}`);
  return parsed;
}

function oneLimit(text: string, devices: readonly string[], count: number): DeviceLimit[] {
  const at = text.indexOf('=');
  if (at === -1) {
    if (count > 1) throw usage('--limit is given more than once', 'name the devices: --limit 0=4GiB --limit 1=2GiB');
    const limit = limitOf(text);
    return (devices.length === 0 ? [EVERY_DEVICE] : devices.map(parseDevice)).map((device) => ({ device, limit }));
  }
  if (devices.length > 0)
    throw usage('--device and --limit both name devices', 'write --limit DEVICE=SIZE for each device');
  return [{ device: parseDevice(text.slice(0, at)), limit: limitOf(text.slice(at + 1)) }];
}

function limitOf(text: string): number | null {
  return text === UNLIMITED ? null : parseSize(text, '--limit');
}

function parseDevice(text: string): string {
  if (ORDINAL.test(text) && Number(text) <= MAX_ORDINAL) return String(Number(text));
  const match = UUID.exec(text);
  if (match === null)
    throw usage(
      `${JSON.stringify(text)} is not a device`,
      'write the number that nvidia-smi gives it, or its UUID (nvidia-smi -L)',
    );
  const [, prefix = 'GPU-', ...parts] = match;
  return `${prefix.toUpperCase()}${parts.join('-').toLowerCase()}`;
}

export function isNumber(device: string): boolean {
  return ORDINAL.test(device);
}

/** The 16 bytes of `GPU-…`; undefined for a number and for `*`. */
export function uuidBytes(device: string): Uint8Array | undefined {
  const match = UUID.exec(device);
  return match === null ? undefined : Uint8Array.from(Buffer.from(match.slice(2).join(''), 'hex'));
}

export function sameLimits(a: readonly DeviceLimit[], b: readonly DeviceLimit[]): boolean {
  const text = (limits: readonly DeviceLimit[]): string => limits.map(formatLimit).toSorted().join(' ');
  return text(a) === text(b);
}

/** As it is typed: `4GiB`, `0=4GiB`. Exact, so that equal texts are equal limits. */
export function formatLimit({ device, limit }: DeviceLimit): string {
  const size = formatLimitSize(limit);
  return device === EVERY_DEVICE ? size : `${device}=${size}`;
}

export function formatLimitSize(limit: number | null): string {
  return limit === null ? UNLIMITED : exactSize(limit);
}

/** As it was meant: in binary units, else in decimal ones, else in bytes. */
function exactSize(bytes: number): string {
  const text = formatSize(bytes);
  if (parseSize(text, '--limit') === bytes) return text;
  const decimal = DECIMAL.find(([size]) => bytes % size === 0);
  return decimal === undefined ? String(bytes) : `${bytes / decimal[0]}${decimal[1]}`;
}

function usage(message: string, fix: string): VramError {
  return new VramError('usage', message, { fix });
}
