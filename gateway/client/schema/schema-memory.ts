// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '#base/clock.ts';
import { PENALTY_MS, REMEMBERED_MAX, RETRY_LOAD_MS, SWIFT_LOAD_MS } from './limits.ts';
import type { SchemaRef } from './schema-ref.ts';
import type { SlotEvents } from './validator-slot.ts';

/** What was learned of schemas, by id: events of the slots go in. */
export interface SchemaMemory extends SlotEvents {
  /** Why a schema cannot be used, as far as is known. */
  faultOf(ref: SchemaRef): string | undefined;
  /** It compiled quickly, and no check of it has hung lately. */
  isTrusted(id: string): boolean;
  /** It compiled, however long that took on a busy machine. */
  isUsable(id: string): boolean;
}

interface Unusable {
  readonly reason: string;
  /** Monotonic ms. */
  readonly until: number;
}

export function createSchemaMemory(clock: Pick<Clock, 'monotonic'>): SchemaMemory {
  const unusable = new Map<string, Unusable>();
  const trusted = new Map<string, true>();
  const usable = new Map<string, true>();
  const suspects = new Map<string, number>();
  return {
    loaded: (id, ms) => {
      remember(usable, id, true);
      const suspect = (suspects.get(id) ?? 0) > clock.monotonic();
      if (ms <= SWIFT_LOAD_MS && !suspect) remember(trusted, id, true);
    },
    unusable: (id, reason, late) => {
      const until = late ? clock.monotonic() + RETRY_LOAD_MS : Number.POSITIVE_INFINITY;
      remember(unusable, id, { reason, until });
      trusted.delete(id);
      usable.delete(id);
    },
    overrun: (id) => {
      trusted.delete(id);
      remember(suspects, id, clock.monotonic() + PENALTY_MS);
    },
    faultOf: ({ id, fault }) => {
      if (fault !== undefined) return fault;
      const known = unusable.get(id);
      return known !== undefined && known.until > clock.monotonic() ? known.reason : undefined;
    },
    isTrusted: (id) => trusted.has(id),
    isUsable: (id) => usable.has(id),
  };
}

/** Bounded: the oldest entry goes. */
function remember<V>(map: Map<string, V>, key: string, value: V): void {
  map.delete(key);
  map.set(key, value);
  const [oldest] = map.keys();
  if (map.size > REMEMBERED_MAX && oldest !== undefined) map.delete(oldest);
}
