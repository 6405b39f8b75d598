// SPDX-License-Identifier: Apache-2.0
// What the product itself says about its answers: the other end of the times that a load measures.

const SERIES = /^penstock_webhook_request_seconds_(bucket|sum|count)\{([^}]*)\} (\S+)$/gm;
const POD = 'webhook="pods"';

interface Histogram {
  readonly sum: number;
  readonly count: number;
  /** Calls by the bound of their bucket in seconds, added up. */
  readonly upTo: ReadonlyMap<number, number>;
}

export interface OwnTimes {
  /** From the headers of a call to its answer, milliseconds. */
  readonly mean: number;
  /** The bound under which 99 of 100 are. */
  readonly p99Below: number;
}

/** Of the reviews of pods that `work` makes. */
export async function ownTimes(metrics: string, work: () => Promise<unknown>): Promise<OwnTimes> {
  const before = await read(metrics);
  await work();
  const after = await read(metrics);
  const count = after.count - before.count;
  const bounds = [...after.upTo.keys()].toSorted((a, b) => a - b);
  const isEnough = (bound: number): boolean =>
    (after.upTo.get(bound) ?? 0) - (before.upTo.get(bound) ?? 0) >= 0.99 * count;
  return {
    mean: ((after.sum - before.sum) / count) * 1000,
    p99Below: (bounds.find(isEnough) ?? Number.POSITIVE_INFINITY) * 1000,
  };
}

async function read(metrics: string): Promise<Histogram> {
  const text = await (await fetch(metrics)).text();
  const upTo = new Map<number, number>();
  let [sum, count] = [0, 0];
  for (const [, kind, labels = '', value] of text.matchAll(SERIES)) {
    if (!labels.includes(POD)) continue;
    if (kind === 'sum') sum += Number(value);
    else if (kind === 'count') count += Number(value);
    else {
      const bound = Number(/le="([\d.]+)"/.exec(labels)?.[1] ?? Number.POSITIVE_INFINITY);
      upTo.set(bound, (upTo.get(bound) ?? 0) + Number(value));
    }
  }
  return { sum, count, upTo };
}
