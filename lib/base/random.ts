// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto';

/** Randomness as the product sees it; injected, so that a seed replays a schedule. */
export interface Random {
  /** `n` bytes, cryptographically strong in production. */
  bytes(n: number): Uint8Array;
  /** Uniform in [0, 1): jitter, sampling; never secrets. */
  fraction(): number;
}

export const systemRandom: Random = {
  bytes: (n) => randomBytes(n),
  fraction: () => Math.random(),
};

/** Deterministic generator for tests and seeded schedules (mulberry32). Not for secrets. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  return {
    fraction: next,
    bytes: (n) => Uint8Array.from({ length: n }, () => Math.floor(next() * 256)),
  };
}
