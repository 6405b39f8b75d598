// SPDX-License-Identifier: Apache-2.0
import { randomBytes, randomFillSync } from 'node:crypto';

/** Randomness as the product sees it; injected, so that a seed replays a schedule. */
export interface Random {
  /** `n` bytes, cryptographically strong in production. */
  bytes(n: number): Uint8Array;
  /** Uniform in [0, 1): jitter, sampling; never secrets. */
  fraction(): number;
}

/** Drawn from the system at once: a call of OpenSSL's generator costs some µs, whether for ten bytes or for thousands. */
const POOL_BYTES = 4096;
/** More than this is drawn for itself. */
const POOLED_MAX = 64;

function pooledRandom(): Random {
  const pool = new Uint8Array(POOL_BYTES);
  let at = POOL_BYTES;
  return {
    bytes: (n) => {
      if (n > POOLED_MAX) return randomBytes(n);
      if (at + n > POOL_BYTES) {
        randomFillSync(pool);
        at = 0;
      }
      const bytes = pool.slice(at, at + n);
      // What was given out is nowhere else any more.
      pool.fill(0, at, at + n);
      at += n;
      return bytes;
    },
    fraction: () => Math.random(),
  };
}

export const systemRandom: Random = pooledRandom();

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
