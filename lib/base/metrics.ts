// SPDX-License-Identifier: Apache-2.0
import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client';

/**
 * One registry per process, handed to whoever counts. Every metric is called penstock_*; counters are written once with 0
 * for each known label value, so that a dashboard never shows a gap where nothing has happened yet.
 */
export function createRegistry(component: string, withProcessMetrics = true): Registry {
  const registry = new Registry();
  registry.setDefaultLabels({ component });
  if (withProcessMetrics) collectDefaultMetrics({ register: registry });
  return registry;
}

/** A counter initialised at 0 for the given label sets (one empty set when it has no labels). */
export function counter<L extends string>(
  registry: Registry,
  name: `penstock_${string}`,
  help: string,
  labelNames: readonly L[] = [],
  initial: readonly Partial<Record<L, string>>[] = [],
): Counter<L> {
  const made = new Counter<L>({ name, help, labelNames: [...labelNames], registers: [registry] });
  for (const labels of initial) made.inc(labels, 0);
  return made;
}

/** @param collect sets the values when somebody scrapes: for what is cheaper to count than to keep counted */
export function gauge<L extends string>(
  registry: Registry,
  name: `penstock_${string}`,
  help: string,
  labelNames: readonly L[] = [],
  collect?: (gauge: Gauge<L>) => void | Promise<void>,
): Gauge<L> {
  const made: Gauge<L> = new Gauge<L>({
    name,
    help,
    labelNames: [...labelNames],
    registers: [registry],
    ...(collect === undefined ? {} : { collect: () => collect(made) }),
  });
  return made;
}

/** Latency histogram in seconds; the buckets reach from a cache hit to a long inference. */
export function histogram<L extends string>(
  registry: Registry,
  name: `penstock_${string}`,
  help: string,
  labelNames: readonly L[] = [],
  buckets: readonly number[] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 1800],
): Histogram<L> {
  return new Histogram<L>({ name, help, labelNames: [...labelNames], buckets: [...buckets], registers: [registry] });
}

export type { Counter, Gauge, Histogram, Registry } from 'prom-client';
