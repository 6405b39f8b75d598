// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { createFakeClock } from '#base/fake-clock.ts';
import { silentLogger } from '#base/logger.ts';
import { seededRandom } from '#base/random.ts';
import type { AppDemandWire } from '#base/wire/demand.ts';
import { aDemand } from '../decide/testing.ts';
import { createDemandBoard } from './demand-board.ts';

function aBoard() {
  const clock = createFakeClock();
  const changes: (string | undefined)[] = [];
  const gateway = {
    apps: [] as AppDemandWire[],
    fails: false,
    asked: 0,
    /** Wakes the operator as the stream would. */
    wake: (): void => {},
    open: 0,
  };
  const board = createDemandBoard({
    clock,
    random: seededRandom(1),
    logger: silentLogger,
    onChange: (uid) => void changes.push(uid),
    client: {
      demand: async () => {
        gateway.asked += 1;
        if (gateway.fails) throw new Error('connection refused');
        return gateway.apps;
      },
      wakeUps: async (onWake, onOpen, signal) => {
        gateway.open += 1;
        if (gateway.fails) throw new Error('connection refused');
        gateway.wake = () => onWake('uid-1');
        onOpen();
        await new Promise<void>((resolve) => {
          signal.addEventListener('abort', () => resolve());
        });
      },
    },
  });
  return { board, clock, changes, gateway };
}

async function running(test: (parts: ReturnType<typeof aBoard>) => Promise<void>): Promise<void> {
  const parts = aBoard();
  const stop = new AbortController();
  const ended = parts.board.run(stop.signal);
  await parts.clock.advance(0);
  await test(parts);
  stop.abort();
  await parts.clock.advance(0);
  await ended;
}

describe('the demand board', () => {
  it('knows nothing before the gateway has answered, and says so', async () => {
    const { board, gateway } = aBoard();
    gateway.fails = true;
    expect(await board.look('uid-1', 200)).toEqual({ problem: 'connection refused' });
  });

  it('asks once for many who look at the same time', async () => {
    const { board, gateway } = aBoard();
    gateway.apps = [aDemand({ queued: 3 })];
    const views = await Promise.all(Array.from({ length: 20 }, () => board.look('uid-1', 200)));
    expect(gateway.asked).toBe(1);
    expect(views.every(({ demand }) => demand?.queued === 3)).toBe(true);
  });

  it('asks again only for a demand that is older than wanted', async () => {
    const { board, gateway, clock } = aBoard();
    await board.look('uid-1', 200);
    await clock.advance(200);
    await board.look('uid-1', 200);
    expect(gateway.asked).toBe(1);
    await clock.advance(1);
    await board.look('uid-1', 200);
    expect(gateway.asked).toBe(2);
  });

  it('says of an app that the gateway does not list that it is not known yet', async () => {
    const { board } = aBoard();
    expect(await board.look('uid-1', 200)).toEqual({
      problem: 'the gateway does not know this app yet',
      retryAfterMs: 500,
    });
  });

  it('does not let every look wait for a gateway that has just failed', async () => {
    const { board, gateway } = aBoard();
    gateway.fails = true;
    await board.look('uid-1', 0);
    await board.look('uid-1', 0);
    expect(gateway.asked).toBe(1);
  });

  it('tells of all apps when the gateway becomes known, then only of those that changed', async () => {
    await running(async ({ clock, changes, gateway }) => {
      expect(changes).toEqual([undefined]);
      gateway.apps = [aDemand({ queued: 1 }), aDemand({ uid: 'uid-2' })];
      await clock.advance(15_000);
      expect(changes.slice(1)).toEqual(['uid-1', 'uid-2']);
      gateway.apps = [aDemand({ queued: 2 }), aDemand({ uid: 'uid-2' })];
      await clock.advance(2_000);
      expect(changes.slice(3)).toEqual(['uid-1']);
    });
  });

  it('tells nothing when a unit only called again', async () => {
    await running(async ({ clock, changes, gateway }) => {
      const unit = { unit: 'a', revision: 'rev', leases: 0, last_seen_at: 1, retired: false };
      gateway.apps = [aDemand({ units: [unit] })];
      await clock.advance(15_000);
      const told = changes.length;
      gateway.apps = [aDemand({ units: [{ ...unit, last_seen_at: 99 }] })];
      await clock.advance(10_000);
      expect(changes).toHaveLength(told);
    });
  });

  it('looks at once when it is woken, and then at most four times a second', async () => {
    await running(async ({ clock, gateway }) => {
      await clock.advance(5_000);
      const before = gateway.asked;
      gateway.wake();
      await clock.advance(0);
      expect(gateway.asked).toBe(before + 1);
      for (let i = 0; i < 100; i++) {
        gateway.wake();
        await clock.advance(10);
      }
      expect(gateway.asked).toBeLessThanOrEqual(before + 1 + 5);
    });
  });

  it('looks rarely at rest and often while something is queued', async () => {
    await running(async ({ clock, gateway }) => {
      const rest = gateway.asked;
      // A unit that left is told of for hours more.
      const left = { unit: 'a', revision: 'rev', leases: 0, last_seen_at: 1, retired: true };
      gateway.apps = [aDemand({ units: [left] })];
      await clock.advance(60_000);
      expect(gateway.asked - rest).toBeLessThanOrEqual(5);
      for (const busy of [aDemand({ queued: 1 }), aDemand({ units: [{ ...left, retired: false }] })]) {
        gateway.apps = [busy];
        await clock.advance(15_000);
        const before = gateway.asked;
        await clock.advance(60_000);
        expect(gateway.asked - before).toBeGreaterThanOrEqual(29);
      }
    });
  });

  it('bridges a short silence of the gateway, then counts it as unknown and tells everybody', async () => {
    await running(async ({ board, clock, changes, gateway }) => {
      gateway.apps = [aDemand({ queued: 1 })];
      await clock.advance(15_000);
      gateway.fails = true;
      await clock.advance(5_000);
      expect((await board.look('uid-1', 20_000)).demand?.queued).toBe(1);
      const told = changes.length;
      await clock.advance(10_000);
      expect((await board.look('uid-1', 20_000)).problem).toBe('connection refused');
      expect(changes.slice(told)).toEqual([undefined]);
    });
  });

  it('opens the stream again when it has ended, with growing pauses', async () => {
    const parts = aBoard();
    parts.gateway.fails = true;
    const stop = new AbortController();
    const ended = parts.board.run(stop.signal);
    await parts.clock.advance(60_000);
    expect(parts.gateway.open).toBeGreaterThan(5);
    expect(parts.gateway.open).toBeLessThan(25);
    stop.abort();
    await parts.clock.advance(0);
    await ended;
  });
});
