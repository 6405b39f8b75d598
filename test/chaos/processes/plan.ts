// SPDX-License-Identifier: Apache-2.0
import { seededRandom } from '#base/random.ts';
import { TENANTS } from '../fleet.ts';
import type { TenantName } from '../fleet.ts';
import type { Deed } from '../work.ts';
import { LEASE_SECONDS } from './settings.ts';

export type ProcessStep = { readonly afterMs: number } & (
  | { readonly do: 'submit'; readonly orders: readonly { tenant: TenantName; n: number; deed: Deed; key?: string }[] }
  | { readonly do: 'repeat' | 'status' | 'cancel'; readonly of: number }
  | { readonly do: 'kill-gateway' | 'kill-unit' | 'end-unit' | 'reset-unit'; readonly of: number }
  | { readonly do: 'freeze-gateway' | 'freeze-unit'; readonly of: number; readonly forMs: number }
  | { readonly do: 'start-unit' }
  | { readonly do: 'kill-redis'; readonly downMs: number }
  | { readonly do: 'network'; readonly rate: number }
);

export interface ProcessPlan {
  readonly seed: number;
  /** How wrong the clocks are: of each gateway that is ever started, and of each unit. */
  readonly gatewayOffsets: readonly number[];
  readonly unitOffsets: readonly number[];
  readonly steps: readonly ProcessStep[];
}

/** Those that come more often stand here more often. */
const KINDS =
  'submit submit submit submit repeat repeat status cancel kill-gateway kill-gateway freeze-gateway kill-unit freeze-unit freeze-unit end-unit start-unit kill-redis network reset-unit'.split(
    ' ',
  ) as readonly ProcessStep['do'][];
const STEPS = 16;
const STEP_MS = 350;
const DEED_CHANCES = 'echo echo echo echo echo echo large large slow slow flaky flaky throw throw input poison'.split(
  ' ',
) as readonly Deed[];
const GATEWAY_SKEW_MS = 60_000;
const UNIT_SKEW_MS = 12 * 3_600_000;
const PROCESSES_MAX = 40;

/** What happens to the processes of a seed, and when: always the same. */
export function processPlanOf(seed: number): ProcessPlan {
  const random = seededRandom(seed * 2_654_435_761 + 7);
  const below = (n: number): number => Math.floor(random.fraction() * n);
  const one = <T>(list: readonly T[]): T => list[below(list.length)] as T;
  const skew = (most: number): number => Math.round((random.fraction() * 2 - 1) * most);
  let n = 0;
  const submission = () => {
    const number = ++n;
    const key = below(2) === 0 ? {} : { key: `key-${number}` };
    return { tenant: one(TENANTS), n: number, deed: one(DEED_CHANCES), ...key };
  };
  const pastLease = (): number => LEASE_SECONDS * 1_000 + 200 + below(1_500);
  const step = (kind: ProcessStep['do']): ProcessStep => {
    const afterMs = below(STEP_MS * 2);
    switch (kind) {
      case 'submit':
        return { do: kind, afterMs, orders: Array.from({ length: 1 + below(6) }, submission) };
      case 'freeze-gateway':
      case 'freeze-unit':
        return { do: kind, afterMs, of: below(100), forMs: pastLease() };
      case 'kill-redis':
        return { do: kind, afterMs, downMs: below(1_500) };
      case 'network':
        return { do: kind, afterMs, rate: one([0, 0.05, 0.2]) };
      case 'start-unit':
        return { do: kind, afterMs };
      default:
        return { do: kind, afterMs, of: below(100) };
    }
  };
  const offsets = (most: number): number[] => Array.from({ length: PROCESSES_MAX }, () => skew(most));
  const steps = [step('submit'), ...Array.from({ length: STEPS }, () => step(one(KINDS)))];
  return { seed, gatewayOffsets: offsets(GATEWAY_SKEW_MS), unitOffsets: offsets(UNIT_SKEW_MS), steps };
}
