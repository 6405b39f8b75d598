// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { createFakeClock } from '#base/fake-clock.ts';
import type { FakeClock } from '#base/fake-clock.ts';
import { silentLogger } from '#base/logger.ts';
import { createRegistry } from '#base/metrics.ts';
import type { KubeClient } from './client.ts';
import { KubeError } from './errors.ts';
import { createKubeMetrics } from './kube-metrics.ts';
import { createLeaderElection } from './leader-election.ts';
import type { LeaderElection } from './leader-election.ts';
import type { CallOptions } from './transport.ts';
import type { KubeObject } from './types.ts';

interface Lease extends KubeObject {
  spec?: {
    holderIdentity?: string;
    renewTime?: string;
    acquireTime?: string;
    leaseTransitions?: number;
    leaseDurationSeconds?: number;
  };
}

/** One Lease with the API server's optimistic concurrency. */
class LeaseServer {
  lease: Lease | undefined;
  /** Calls of these identities fail, as over a broken network; `hang`: they end only at their deadline. */
  readonly cutOff = new Map<string, 'refuse' | 'hang'>();
  readonly #clock: FakeClock;
  #version = 0;

  constructor(clock: FakeClock) {
    this.#clock = clock;
  }

  clientOf(identity: string): KubeClient {
    const network = async (options: CallOptions): Promise<void> => {
      const cut = this.cutOff.get(identity);
      if (cut === 'hang') await this.#clock.sleep(options.deadlineMs ?? 30_000, options.signal);
      if (cut) throw new KubeError('no network', { status: 0, reason: 'ConnectionFailed' });
    };
    const store = (lease: Lease, uid: string): Lease => {
      this.#version += 1;
      this.lease = { ...lease, metadata: { ...lease.metadata, uid, resourceVersion: String(this.#version) } };
      return structuredClone(this.lease);
    };
    return {
      get: async (_resource: unknown, _ref: unknown, options: CallOptions) => {
        await network(options);
        if (!this.lease) throw new KubeError('none', { status: 404, reason: 'NotFound' });
        return structuredClone(this.lease);
      },
      apply: async (_resource: unknown, lease: Lease, options: CallOptions) => {
        await network(options);
        return this.lease ? structuredClone(this.lease) : store(lease, `uid-${this.#version}`);
      },
      replace: async (_resource: unknown, lease: Lease, options: CallOptions) => {
        await network(options);
        if (!this.lease) throw new KubeError('none', { status: 404, reason: 'NotFound' });
        if (lease.metadata.resourceVersion !== this.lease.metadata.resourceVersion)
          throw new KubeError('stale', { status: 409, reason: 'Conflict' });
        return store(lease, this.lease.metadata.uid ?? '');
      },
    } as unknown as KubeClient;
  }

  /** What kubectl annotate does. */
  touch(): void {
    if (!this.lease) return;
    this.#version += 1;
    this.lease = { ...this.lease, metadata: { ...this.lease.metadata, resourceVersion: String(this.#version) } };
  }
}

interface World {
  readonly clock: FakeClock;
  readonly server: LeaseServer;
  readonly story: string[];
  readonly join: (identity: string, onStopped?: () => Promise<void>) => LeaderElection;
}

function aWorld(): World {
  const clock = createFakeClock();
  const server = new LeaseServer(clock);
  const story: string[] = [];
  const join = (identity: string, onStopped?: () => Promise<void>): LeaderElection => {
    const election = createLeaderElection({
      client: server.clientOf(identity),
      lease: { namespace: 'ns', name: 'lease' },
      identity,
      clock,
      logger: silentLogger,
      metrics: createKubeMetrics(createRegistry('test', false)),
      onStarted: (leading) => {
        story.push(`${identity} started`);
        leading.addEventListener('abort', () => story.push(`${identity} must end`));
      },
      onStopped: async (why) => {
        story.push(`${identity} ${why}`);
        await onStopped?.();
      },
    });
    election.start();
    return election;
  };
  return { clock, server, story, join };
}

describe('leader election', () => {
  test('the first one leads, renews every two seconds, the second one waits', async () => {
    const { clock, server, story, join } = aWorld();
    const a = join('a');
    await clock.advance(100);
    const b = join('b');
    const first = server.lease?.spec;
    await clock.advance(60_000);
    expect([a.isLeader(), b.isLeader(), story]).toEqual([true, false, ['a started']]);
    expect(server.lease?.spec).toMatchObject({
      holderIdentity: 'a',
      leaseTransitions: 0,
      leaseDurationSeconds: 15,
      acquireTime: first?.acquireTime,
    });
    expect(server.lease?.spec?.renewTime).toMatch(/^2026-01-01T00:01:00\.\d{3}000Z$/);
    expect(server.lease?.metadata.resourceVersion).toBe('32');
    await a.stop();
    await b.stop();
  });

  test('a leader that vanishes is followed after the lease time, not before', async () => {
    const { clock, server, join } = aWorld();
    const a = join('a');
    await clock.advance(10_000);
    const b = join('b');
    server.cutOff.set('a', 'hang');
    await clock.advance(14_000);
    expect([a.isLeader(), b.isLeader()]).toEqual([false, false]);
    await clock.advance(4_000);
    expect(b.isLeader()).toBe(true);
    expect(server.lease?.spec).toMatchObject({ holderIdentity: 'b', leaseTransitions: 1 });
    server.cutOff.delete('a');
    await a.stop();
    await b.stop();
  });

  test.for(['refuse', 'hang'] as const)(
    'a leader whose calls %s leads for ten seconds after its last renewal, no longer',
    async (how) => {
      const { clock, server, story, join } = aWorld();
      const a = join('a');
      await clock.advance(4_500);
      server.cutOff.set('a', how);
      await clock.advance(9_400);
      expect([a.isLeader(), story]).toEqual([true, ['a started']]);
      await clock.advance(200);
      expect([a.isLeader(), story]).toEqual([false, ['a started', 'a must end', 'a lost']]);
      server.cutOff.clear();
      await a.stop();
    },
  );

  test('a short outage costs nothing', async () => {
    const { clock, server, story, join } = aWorld();
    const a = join('a');
    await clock.advance(4_000);
    server.cutOff.set('a', 'refuse');
    await clock.advance(7_000);
    server.cutOff.delete('a');
    await clock.advance(30_000);
    expect([a.isLeader(), story]).toEqual([true, ['a started']]);
    await a.stop();
  });

  test('a blocked event loop: not a leader any more at the first look, before any timer has run', async () => {
    const { clock, join, story } = aWorld();
    const a = join('a');
    await clock.advance(5_000);
    expect(a.isLeader()).toBe(true);
    clock.block(10_001);
    expect([a.isLeader(), story]).toEqual([false, ['a started']]);
    await clock.advance(0);
    expect(story).toEqual(['a started', 'a must end', 'a lost']);
    await a.stop();
  });

  test('a suspended machine: the wall clock ran on while the monotonic one stood still', async () => {
    const { clock, join } = aWorld();
    const a = join('a');
    await clock.advance(5_000);
    clock.stepWall(3_600_000);
    expect(a.isLeader()).toBe(false);
    clock.stepWall(-7_200_000);
    await a.stop();
  });

  test('clocks that are an hour apart do not matter', async () => {
    const { clock, server, join } = aWorld();
    const a = join('a');
    await clock.advance(4_000);
    // b sees renewals that look an hour old.
    clock.stepWall(3_600_000);
    const b = join('b');
    await clock.advance(1_900);
    if (server.lease?.spec) server.lease.spec.renewTime = '2020-01-01T00:00:00.000000Z';
    expect(b.isLeader()).toBe(false);
    await clock.advance(12_000);
    expect(b.isLeader()).toBe(false);
    await a.stop();
    await b.stop();
  });

  test('stopping hands over at once, after the work has ended, and the lease is kept until then', async () => {
    const { clock, server, story, join } = aWorld();
    const a = join('a', () => clock.sleep(25_000));
    await clock.advance(1_000);
    const b = join('b');
    const stopped = a.stop();
    expect(a.isLeader()).toBe(false);
    await clock.advance(24_900);
    expect([b.isLeader(), server.lease?.spec?.holderIdentity]).toEqual([false, 'a']);
    await clock.advance(200);
    await stopped;
    expect(server.lease?.spec).toMatchObject({ holderIdentity: '', leaseDurationSeconds: 1 });
    await clock.advance(2_000);
    expect(b.isLeader()).toBe(true);
    expect(story).toEqual(['a started', 'a must end', 'a released', 'b started']);
    await b.stop();
    expect(clock.sleepers()).toBe(0);
  });

  test('somebody annotates the lease: the leader goes on', async () => {
    const { clock, server, story, join } = aWorld();
    const a = join('a');
    for (let i = 0; i < 5; i++) {
      await clock.advance(1_700);
      server.touch();
    }
    await clock.advance(30_000);
    expect([a.isLeader(), story]).toEqual([true, ['a started']]);
    await a.stop();
  });

  test('somebody takes the lease away: the leader ends', async () => {
    const { clock, server, story, join } = aWorld();
    const a = join('a');
    await clock.advance(1_000);
    server.touch();
    if (server.lease?.spec) server.lease.spec.holderIdentity = 'somebody';
    await clock.advance(2_000);
    expect([a.isLeader(), story]).toEqual([false, ['a started', 'a must end', 'a lost']]);
    await a.stop();
  });

  test('two that find a lease run out at the same moment: one gets it', async () => {
    const { clock, server, join } = aWorld();
    const old = join('old');
    await clock.advance(100);
    const pair = [join('a'), join('b')];
    server.cutOff.set('old', 'refuse');
    await clock.advance(20_000);
    expect(pair.filter((election) => election.isLeader())).toHaveLength(1);
    server.cutOff.clear();
    for (const election of [old, ...pair]) await election.stop();
  });

  test('a stopped one cannot be started, and never leads again', async () => {
    const { clock, join } = aWorld();
    const a = join('a');
    await clock.advance(100);
    await a.stop();
    expect(() => a.start()).toThrow('stopped');
    await clock.advance(60_000);
    expect(a.isLeader()).toBe(false);
  });

  test('times that contradict each other are refused', () => {
    const { clock, server } = aWorld();
    const make = (): unknown =>
      createLeaderElection({
        client: server.clientOf('a'),
        lease: { namespace: 'ns', name: 'lease' },
        identity: 'a',
        clock,
        logger: silentLogger,
        metrics: createKubeMetrics(createRegistry('test', false)),
        times: { leaseMs: 10_000, renewDeadlineMs: 10_000, retryMs: 2_000 },
        onStarted: () => {},
        onStopped: () => {},
      });
    expect(make).toThrow('renewDeadlineMs < leaseMs');
  });
});
