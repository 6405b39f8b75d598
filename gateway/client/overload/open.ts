// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '#base/clock.ts';
import type { OverloadLimits } from './limits.ts';
import { OVERLOAD_LIMITS } from './limits.ts';
import { watchLoopDelay } from './loop-delay.ts';
import { createOverload } from './overload.ts';
import type { LoadMeasure, Overload, OverloadOptions } from './overload.ts';
import { createQueueLatency } from './queue-latency.ts';
import type { QueueLatency } from './queue-latency.ts';

export interface OpenOverload extends Overload, Pick<QueueLatency, 'timed'> {
  stop(): void;
}

/** Overload as this process and its queue show it; `given` replaces limits and measures in tests. */
export function openOverload(
  deps: Pick<OverloadOptions, 'random' | 'logger' | 'registry'> & { readonly clock: Clock },
  given: { readonly limits?: OverloadLimits; readonly measure?: LoadMeasure } = {},
): OpenOverload {
  const limits = given.limits ?? OVERLOAD_LIMITS;
  const latency = createQueueLatency(deps.clock);
  const delay = watchLoopDelay(limits.loopSampleMs);
  const measure = given.measure ?? {
    loopDelay: () => ({ lasting: delay.lasting(), latest: delay.latest() }),
    queueLatency: () => latency.current(),
  };
  const overload = createOverload({ ...deps, measure, limits });
  return {
    admit: () => overload.admit(),
    timed: (call) => latency.timed(call),
    stop: () => delay.stop(),
  };
}
