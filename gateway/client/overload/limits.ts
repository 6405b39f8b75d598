// SPDX-License-Identifier: Apache-2.0

/** When new requests are refused, and when they are taken again. Milliseconds. */
export interface OverloadLimits {
  /** Delay of the event loop in all of the last samples; in the latest one. */
  readonly loopEnterMs: number;
  readonly loopLeaveMs: number;
  /** Between two samples. */
  readonly loopSampleMs: number;
  /** Smoothed time of an enqueue, or age of the oldest that is under way. */
  readonly queueEnterMs: number;
  readonly queueLeaveMs: number;
  /** While the queue is slow one request in this time is let through: else nobody would find out that it is quick again. */
  readonly probeMs: number;
}

/**
 * Far above what a busy gateway shows (a loop turn takes some 10 ms at full throughput, an enqueue with fsync some more), far below
 * what makes clients give up: what is accepted beyond this waits for seconds in every turn.
 */
export const OVERLOAD_LIMITS: OverloadLimits = {
  loopEnterMs: 500,
  loopLeaveMs: 100,
  loopSampleMs: 100,
  queueEnterMs: 2_000,
  queueLeaveMs: 500,
  probeMs: 250,
};

/** Nobody is told to come back sooner, nor all at one moment. */
export const SHED_RETRY_MIN_SECONDS = 1;
export const SHED_RETRY_SPREAD_SECONDS = 4;
/** Weight of the newest enqueue in the smoothed time. */
export const LATENCY_WEIGHT = 0.2;
/** A smoothed time that nothing has refreshed for so long says nothing any more. */
export const LATENCY_MEMORY_MS = 5_000;
/** Samples that must all be bad: one long block (a large document, a pause of the machine) is over when it is seen. */
export const LOOP_SAMPLES = 5;
