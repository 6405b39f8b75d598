// SPDX-License-Identifier: Apache-2.0
import { expect, onTestFinished, test, vi } from 'vitest';
import { createFakeClock } from '#base/fake-clock.ts';
import { silentLogger } from '#base/logger.ts';
import { seededRandom } from '#base/random.ts';
import type { TenantsDocument } from '#base/tenants.ts';
import type { ServedApp } from '../apps/app-source.ts';
import { MAX_BATCH } from '../queue/limits.ts';
import type { TenantShare } from '../queue/lease-queue.ts';
import { startShareUpdates } from './share-updates.ts';
import { parseTenants } from './tenants.ts';

const PATIENCE = { timeout: 20_000 };
const app = (uid: string, namespace = 'team') => ({ uid, namespace, name: uid }) as ServedApp;

function surroundings(first: TenantsDocument, apps: ServedApp[], strangers: string[] = []) {
  let policies = parseTenants(first).policies();
  let changed = (): void => {};
  let appsChanged = (): void => {};
  let synced = true;
  let failing = 0;
  const calls: [string, Record<string, TenantShare>][] = [];
  const clock = createFakeClock();
  const start = (): void => {
    const sweep = startShareUpdates({
      tenants: {
        policies: () => policies,
        strangers: () => strangers,
        onChange: (listener) => {
          changed = listener;
          return () => {};
        },
      },
      apps: {
        list: () => apps,
        synced: () => synced,
        onChange: (listener) => {
          appsChanged = listener;
          return () => {};
        },
      },
      queue: {
        setShares: async (uid, shares) => {
          if (failing > 0) {
            failing -= 1;
            throw new Error('away');
          }
          expect(shares.size).toBeLessThanOrEqual(MAX_BATCH);
          calls.push([uid, Object.fromEntries(shares)]);
        },
      },
      clock,
      random: seededRandom(1),
      logger: silentLogger,
    });
    onTestFinished(() => sweep.stop());
  };
  return {
    calls,
    clock,
    start,
    reload: (document: TenantsDocument) => {
      policies = parseTenants(document).policies();
      changed();
    },
    fail: (times: number) => void (failing = times),
    sync: (is: boolean) => {
      synced = is;
      appsChanged();
    },
  };
}

test('all shares at the start, then what has changed, for the apps that the tenant may call', async () => {
  const s = surroundings(
    {
      tenants: [
        { name: 'team', weight: 2 },
        { name: 'b', namespace: 'team' },
      ],
    },
    [app('one'), app('two'), app('strange', 'elsewhere')],
  );
  s.start();
  const all = { team: { weight: 2 }, b: { weight: 1 } };
  await vi.waitFor(
    () =>
      expect(s.calls).toEqual([
        ['one', all],
        ['two', all],
      ]),
    PATIENCE,
  );
  s.calls.length = 0;
  s.reload({
    tenants: [
      { name: 'team', weight: 2, appLimits: { two: { maxQueued: 5 } } },
      { name: 'b', namespace: 'team' },
    ],
  });
  await vi.waitFor(() => expect(s.calls).toEqual([['two', { team: { weight: 2, maxQueued: 5 } }]]), PATIENCE);
});

test('a tenant that has left the document goes on under the default policy, as tenants do that were never in it', async () => {
  const s = surroundings({ tenants: [{ name: 'team', weight: 9 }] }, [app('one'), app('far', 'far')], ['far']);
  s.start();
  await vi.waitFor(() => expect(s.calls).toHaveLength(2), PATIENCE);
  s.calls.length = 0;
  s.reload({ tenants: [], default: { weight: 3 } });
  const expected = [
    ['one', { team: { weight: 3 } }],
    ['far', { far: { weight: 3 } }],
  ];
  await vi.waitFor(() => expect(s.calls).toEqual(expected), PATIENCE);
});

test('many tenants go in bounded calls', async () => {
  const tenants = Array.from({ length: 2 * MAX_BATCH + 1 }, (_, i) => ({ name: `t${i}`, namespace: 'team' }));
  const s = surroundings({ tenants }, [app('one')]);
  s.start();
  await vi.waitFor(
    () => expect(s.calls.map(([, shares]) => Object.keys(shares).length)).toEqual([MAX_BATCH, MAX_BATCH, 1]),
    PATIENCE,
  );
});

test('a queue that is away is told again until it has heard, the last document only', async () => {
  const s = surroundings({ tenants: [{ name: 'team', weight: 2 }] }, [app('one')]);
  s.fail(2);
  s.start();
  await vi.waitFor(() => expect(s.clock.sleepers()).toBe(1), PATIENCE);
  s.reload({ tenants: [{ name: 'team', weight: 5 }] });
  await s.clock.advance(60_000);
  await s.clock.advance(60_000);
  await vi.waitFor(() => expect(s.calls).toEqual([['one', { team: { weight: 5 } }]]), PATIENCE);
});

test('nothing is told before the apps are known', async () => {
  const s = surroundings({ tenants: [{ name: 'team' }] }, [app('one')]);
  s.sync(false);
  s.start();
  expect(s.calls).toEqual([]);
  s.sync(true);
  await vi.waitFor(() => expect(s.calls).toHaveLength(1), PATIENCE);
});
