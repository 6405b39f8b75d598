// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { gpuMicros } from './gpu-share.ts';

test.each([
  ['a unit that says nothing, without a GPU', undefined, undefined, 1_000_000],
  ['a handler with two GPUs', 2, { archetype: 'Handler', instances: 1, concurrency: 1 }, 2_000_000],
  ['a handler that takes batches of eight', 1, { archetype: 'Handler', instances: 1, concurrency: 8 }, 1_000_000],
  ['three copies of a handler on one GPU', 1, { archetype: 'Handler', instances: 3, concurrency: 8 }, 333_333],
  ['three copies that are given one request', 1, { archetype: 'Handler', instances: 3, concurrency: 1 }, 1_000_000],
  ['a model server with eight at once', 2, { archetype: 'Sidecar', instances: 1, concurrency: 8 }, 250_000],
] as const)('%s', (_name, count, capability, micros) => {
  expect(gpuMicros(count === undefined ? undefined : { gpu: { count } }, capability)).toBe(micros);
});
