// SPDX-License-Identifier: Apache-2.0
import { VramError } from './errors.ts';

const UNIT_SECONDS: Readonly<Record<string, number>> = { '': 1, s: 1, m: 60, h: 3600, d: 86_400 };
const DURATION = /^([0-9]{1,9})([smhd]?)$/;
/** Ten years: whoever means "for ever" is served, and the sum stays a date. */
const MAX_DURATION_SECONDS = 10 * 366 * 86_400;

/** Seconds of `90`, `90s`, `15m`, `2h`, `7d`. @throws VramError `usage` naming `option` */
export function parseDuration(text: string, option: string): number {
  const match = DURATION.exec(text.trim());
  const seconds = Number(match?.[1]) * (UNIT_SECONDS[match?.[2] ?? '-'] ?? Number.NaN);
  if (seconds >= 1 && seconds <= MAX_DURATION_SECONDS) return seconds;
  throw new VramError('usage', `${option}: ${JSON.stringify(text)} is not a time`, {
    fix: 'write seconds, or 90s, 15m, 2h, 7d; at least one second, at most ten years',
  });
}

/** `45s`, `12m`, `3h 20m`, `6d 2h`. */
export function formatDuration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const parts = [
    [Math.floor(whole / 86_400), 'd'],
    [Math.floor(whole / 3600) % 24, 'h'],
    [Math.floor(whole / 60) % 60, 'm'],
    [whole % 60, 's'],
  ] as const;
  const first = parts.findIndex(([count]) => count > 0);
  if (first === -1) return '0s';
  return parts
    .slice(first, first + 2)
    .filter(([count]) => count > 0)
    .map(([count, unit]) => `${count}${unit}`)
    .join(' ');
}
