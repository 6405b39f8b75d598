// SPDX-License-Identifier: Apache-2.0
import type { AppDemandWire } from '#base/wire/demand.ts';
import type { UnitObservation } from '../units/unit-driver.ts';
import { liveUnits } from './fleet.ts';
import type { Fleet } from './fleet.ts';
import type { AppMemory, RetireAction } from './types.ts';

/**
 * After the second failed start in a row the next one waits, twice as long each time. The first is free: a lost node or a spot
 * preemption is no crash loop. The limit is the kubelet's own for crash loops: a fixed image gets its chance within 5 minutes.
 */
const FIRST_BACKOFF_MS = 5_000;
const MAX_BACKOFF_MS = 300_000;
/** A unit that has served this long ends the row of failures, even if it never finishes. */
const HEALTHY_AFTER_MS = 30_000;
/** The last failed unit stays at least this long, so that somebody can read its logs. */
const KEEP_FAILED_MS = 60_000;
/** The API server's clock and ours may differ by this much. */
const CLOCK_TOLERANCE_MS = 30_000;
/** Bound of the memory of one app; more failed units than this are reaped within the same minute anyway. */
const MAX_COUNTED = 1000;

/** Wait after `failures` failed rounds in a row. */
export function backoffMs(failures: number): number {
  if (failures < 2) return 0;
  return Math.min(MAX_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** Math.min(failures - 2, 30));
}

/** Unix ms before which no unit should be started, or undefined. */
export function backoffUntil(memory: AppMemory): number | undefined {
  const wait = backoffMs(memory.failures);
  return wait === 0 || memory.lastFailureAt === undefined ? undefined : memory.lastFailureAt + wait;
}

/**
 * Counts failures that this decision sees for the first time, as one round however many units fell together, and forgets the
 * row once a unit that was not there at the last failure has proven itself.
 */
export function noteFailures(
  memory: AppMemory,
  fleet: Fleet,
  late: readonly RetireAction[],
  now: number,
  demand: AppDemandWire | undefined,
): AppMemory {
  const seen = new Map<string, string>();
  const silent = silentUnits(fleet, demand);
  for (const unit of fleet.failed) seen.set(unit.unit, unit.message ?? `unit ${unit.unit} ended with an error`);
  for (const unit of silent) {
    const why = 'its token was refused, or its image exits by itself';
    seen.set(unit.unit, `unit ${unit.unit} ended without ever asking for work: ${why}`);
  }
  for (const action of late) seen.set(action.unit, action.message);
  const before = new Set(memory.counted);
  const fresh = [...seen.keys()].filter((unit) => !before.has(unit));
  // A unit counts when it is decided to retire it, and not again when that call fails, while it leaves or when it ends with an error.
  const present = [...fleet.failed, ...liveUnits(fleet), ...fleet.leaving, ...fleet.succeeded].map((unit) => unit.unit);
  const visible = new Set(present);
  const counted = [...new Set([...memory.counted, ...fresh])].filter((unit) => visible.has(unit)).slice(-MAX_COUNTED);
  const { lastScaleUpAt } = memory;
  const kept = lastScaleUpAt === undefined ? {} : { lastScaleUpAt };
  const last = fresh.at(-1);
  if (last !== undefined) {
    const lastFailure = seen.get(last) ?? '';
    const presentAtFailure = present.slice(-MAX_COUNTED);
    return { ...kept, failures: memory.failures + 1, lastFailureAt: now, lastFailure, counted, presentAtFailure };
  }
  if (hasRecovered(memory, fleet, silent, now)) return { ...kept, failures: 0, counted };
  return { ...memory, counted };
}

/**
 * A unit that was refused its token leaves in order, with exit code 0: its Job succeeds, though it never worked. The queue remembers
 * each unit that ever asked it for work (a retired one for an hour, far longer than its Job stays).
 */
function silentUnits(fleet: Fleet, demand: AppDemandWire | undefined): readonly UnitObservation[] {
  if (demand === undefined) return [];
  const known = new Set(demand.units.map((unit) => unit.unit));
  return fleet.succeeded.filter((unit) => !unit.retired && !known.has(unit.unit));
}

function hasRecovered(memory: AppMemory, fleet: Fleet, silent: readonly UnitObservation[], now: number): boolean {
  const { lastFailureAt, presentAtFailure = [] } = memory;
  if (memory.failures === 0 || lastFailureAt === undefined) return false;
  // By name, and by time only roughly: creationTimestamp is in whole seconds and of another clock, so that a unit made right after a
  // failure may seem older than it.
  const before = new Set(presentAtFailure);
  const newer = (unit: UnitObservation): boolean =>
    !before.has(unit.unit) && unit.createdAt > lastFailureAt - CLOCK_TOLERANCE_MS;
  const proven = (unit: UnitObservation): boolean => newer(unit) && now - unit.createdAt >= HEALTHY_AFTER_MS;
  return fleet.succeeded.some((unit) => newer(unit) && !silent.includes(unit)) || fleet.serving.some(proven);
}

/** Failed units that may go now, and when the one that is kept for its logs may (Unix ms). */
export function reapable(fleet: Fleet, memory: AppMemory): { kept?: string; until: number } {
  const newest = fleet.failed.toSorted((a, b) => b.createdAt - a.createdAt || (a.unit < b.unit ? -1 : 1))[0];
  const until = (memory.lastFailureAt ?? 0) + Math.max(KEEP_FAILED_MS, backoffMs(memory.failures));
  return newest === undefined ? { until } : { kept: newest.unit, until };
}
