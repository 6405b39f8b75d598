// SPDX-License-Identifier: Apache-2.0
import type { Contender } from './queue-contenders.ts';
import { median } from './statistics.ts';

/** Odd, so that the median is one of them; the round before them warms the compilers up. */
const ROUNDS = 9;
/** On a slow or busy machine fewer will do. */
const MIN_ROUNDS = 3;

/** Cycles a second of each contender, round by round. */
export type Rates<T extends string> = Readonly<Record<T, readonly number[]>>;

export interface RaceOptions {
  /** Items that each puts in and takes out in a round. */
  readonly cycles: number;
  /** No round begins after it, but for the least of them. */
  readonly limitMs: number;
  /** Hears of each stretch that is timed. */
  readonly watch?: { begin(): void; end(name: string, cycles: number): void };
  /** Items put in before as many are taken out; a divisor of `cycles`, by default all of a round. */
  readonly step?: number;
}

/** In alternating rounds: what slows the machine for a while slows all. Filling is not timed. */
export async function race<T extends string>(
  contenders: Readonly<Record<T, Contender>>,
  { cycles, limitMs, watch, step = cycles }: RaceOptions,
): Promise<Rates<T>> {
  const names = Object.keys(contenders) as T[];
  const rates = Object.fromEntries(names.map((name) => [name, [] as number[]])) as unknown as Record<T, number[]>;
  const end = performance.now() + limitMs;
  for (let round = 0; round <= ROUNDS && (round <= MIN_ROUNDS || performance.now() < end); round++) {
    for (const name of names) {
      let ms = 0;
      for (let done = 0; done < cycles; done += step) {
        await contenders[name].fill(step);
        const began = performance.now();
        watch?.begin();
        await contenders[name].drain(step);
        if (round > 0) watch?.end(name, step);
        ms += performance.now() - began;
      }
      if (round > 0) rates[name].push(cycles / (ms / 1000));
    }
  }
  return rates;
}

/** Median of the ratios of rounds that ran next to each other. */
export function ratio<T extends string>(rates: Rates<T>, one: T, other: T): number {
  return median(rates[one].map((rate, i) => rate / (rates[other][i] ?? Infinity)));
}

export function shown<T extends string>(rates: Rates<T>, name: T): string {
  return `${Math.round(median(rates[name]))}/s`;
}
