// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { backoffDelay } from './backoff.ts';
import { seededRandom } from './random.ts';

const POLICY = { firstMs: 100, maxMs: 30_000, factor: 2 };

test('every delay lies in the upper half of its exponential step, and never beyond the maximum', () => {
  fc.assert(
    fc.property(fc.nat({ max: 10_000 }), fc.integer(), (attempt, seed) => {
      const step = Math.min(POLICY.maxMs, POLICY.firstMs * 2 ** Math.min(attempt, 64));
      const delay = backoffDelay(POLICY, attempt, seededRandom(seed));
      expect(delay).toBeGreaterThanOrEqual(step / 2);
      expect(delay).toBeLessThanOrEqual(step);
    }),
  );
});
