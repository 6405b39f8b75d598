// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '#base/clock.ts';
import type { Logger } from '#base/logger.ts';
import { counter, gauge } from '#base/metrics.ts';
import type { Registry } from '#base/metrics.ts';
import type { Random } from '#base/random.ts';
import { gatewayError } from '../../errors.ts';
import { OVERLOAD_LIMITS, SHED_RETRY_MIN_SECONDS, SHED_RETRY_SPREAD_SECONDS } from './limits.ts';
import type { OverloadLimits } from './limits.ts';

const SIGNALS = ['event-loop', 'queue'] as const;
type Signal = (typeof SIGNALS)[number];

/** How loaded the gateway is, in ms. */
export interface LoadMeasure {
  /** Delay of the event loop that has lasted for some time, and the latest. */
  loopDelay(): { readonly lasting: number; readonly latest: number };
  queueLatency(): number;
}

/** Refuses new requests while the gateway itself, or its queue, cannot keep up. What is accepted is never touched. */
export interface Overload {
  /** Called before anything of a request is read but its head. @throws ProblemError 503 with Retry-After */
  admit(): void;
}

export interface OverloadOptions {
  readonly measure: LoadMeasure;
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly random: Pick<Random, 'fraction'>;
  readonly logger: Logger;
  readonly registry: Registry;
  readonly limits?: OverloadLimits | undefined;
}

export function createOverload({ measure, clock, random, logger, registry, limits }: OverloadOptions): Overload {
  const { loopEnterMs, loopLeaveMs, queueEnterMs, queueLeaveMs, probeMs } = limits ?? OVERLOAD_LIMITS;
  const metrics = overloadMetrics(registry, measure);
  const loop = hysteresis('event-loop', logger);
  const queue = hysteresis('queue', logger);
  let probedAt = Number.NEGATIVE_INFINITY;

  const shed = (signal: Signal, what: string): Error => {
    metrics.shed(signal);
    const seconds = SHED_RETRY_MIN_SECONDS + Math.floor(random.fraction() * SHED_RETRY_SPREAD_SECONDS);
    return gatewayError('overloaded', `${what}; nothing of the request was read or stored`, {
      fix: 'send it again after Retry-After seconds',
      headers: { 'retry-after': String(seconds) },
    });
  };

  return {
    admit: () => {
      const delay = measure.loopDelay();
      if (loop.over(delay.lasting >= loopEnterMs, delay.latest <= loopLeaveMs)) {
        throw shed('event-loop', 'the gateway is behind with its work');
      }
      const latency = measure.queueLatency();
      if (!queue.over(latency >= queueEnterMs, latency <= queueLeaveMs)) return;
      const now = clock.monotonic();
      if (now - probedAt < probeMs) throw shed('queue', 'the queue is slow to answer');
      probedAt = now;
    },
  };
}

/** Between the two conditions it stays as it is. */
function hysteresis(signal: Signal, logger: Logger): { over(enter: boolean, leave: boolean): boolean } {
  let over = false;
  return {
    over: (enter, leave) => {
      if (!over && enter) {
        over = true;
        logger.warn({ signal }, 'overloaded: new requests are refused');
      } else if (over && leave && !enter) {
        over = false;
        logger.info({ signal }, 'no longer overloaded: new requests are taken');
      }
      return over;
    },
  };
}

function overloadMetrics(registry: Registry, measure: LoadMeasure): { readonly shed: (signal: Signal) => void } {
  const shed = counter(
    registry,
    'penstock_gateway_shed_total',
    'Requests refused because the gateway or its queue could not keep up, before they were read.',
    ['signal'],
    SIGNALS.map((signal) => ({ signal })),
  );
  gauge(
    registry,
    'penstock_gateway_load_seconds',
    'What shedding goes by: delay of the event loop, time of an enqueue.',
    ['signal'],
    (made) => {
      made.set({ signal: 'event-loop' }, measure.loopDelay().latest / 1000);
      made.set({ signal: 'queue' }, measure.queueLatency() / 1000);
    },
  );
  return { shed: (signal) => shed.inc({ signal }) };
}
