// SPDX-License-Identifier: Apache-2.0
import type { WireCapability } from '#base/wire/broker.ts';
import type { ServedApp } from '../apps/app-source.ts';

const WHOLE = 1_000_000;

/**
 * Which part of a GPU one request of a unit occupies while it is served, in millionths: the unit's GPUs divided by the places that
 * work side by side. A handler's batch is one place, since its requests share the time that is measured; a model server has as many
 * as it may be sent requests at once. A unit without a GPU counts as one with one: fair shares are then shares of units.
 */
export function gpuMicros(
  resources: ServedApp['spec']['resources'],
  { archetype, instances, concurrency }: WireCapability = { archetype: 'Handler', instances: 1, concurrency: 1 },
): number {
  const places = archetype === 'Handler' ? Math.min(instances, concurrency) : concurrency;
  return Math.floor(((resources?.gpu?.count ?? 1) * WHOLE) / places);
}
