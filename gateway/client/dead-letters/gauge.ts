// SPDX-License-Identifier: Apache-2.0
import { gauge } from '#base/metrics.ts';
import type { Registry } from '#base/metrics.ts';
import type { AppSource } from '../../apps/app-source.ts';
import type { LeaseQueue } from '../../queue/lease-queue.ts';

/** Apps that the gauge tells apart; of a cluster with more the first by name. */
const GAUGE_APPS_MAX = 500;
/** A scrape must not hang with the queue. */
const GAUGE_LIMIT_MS = 2_000;

/** Counted when somebody scrapes, and never between: an idle gateway asks the queue nothing. */
export function deadLetterGauge(
  registry: Registry,
  { queue, apps }: { readonly queue: Pick<LeaseQueue, 'deadLetterCount'>; readonly apps: Pick<AppSource, 'list'> },
): void {
  gauge(
    registry,
    'penstock_dead_letters',
    'Dead letters of each app, in the queue all gateways share.',
    ['app'],
    async (made) => {
      const named = apps.list().map((app) => ({ uid: app.uid, app: `${app.namespace}.${app.name}` }));
      const shown = named.toSorted((a, b) => (a.app < b.app ? -1 : 1)).slice(0, GAUGE_APPS_MAX);
      const counts = await within(
        GAUGE_LIMIT_MS,
        Promise.all(shown.map(async ({ uid, app }) => [app, await queue.deadLetterCount(uid)] as const)),
      );
      // What cannot be counted now is absent, not 0.
      made.reset();
      for (const [app, count] of counts ?? []) made.inc({ app }, count);
    },
  );
}

async function within<T>(ms: number, work: Promise<T>): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), ms).unref();
  });
  try {
    return await Promise.race([work.catch(() => undefined), late]);
  } finally {
    clearTimeout(timer);
  }
}
