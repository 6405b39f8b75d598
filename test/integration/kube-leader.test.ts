// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { LEASE_TIMES } from '#kube/leader-election.ts';
import type { LeaseTimes } from '#kube/leader-election.ts';
import { LEASES } from '#kube/resource.ts';
import type { KubeObject } from '#kube/types.ts';
import { sharedKube } from '../servers/kube.ts';
import { until } from '../until.ts';
import { aFixture, aNamespace } from './kube-fixture.ts';
import type { Fixture } from './kube-fixture.ts';

interface Act {
  readonly at: number;
  readonly identity: string;
  readonly what: string;
}

interface Lease extends KubeObject {
  readonly spec?: { readonly holderIdentity?: string; readonly renewTime?: string; readonly leaseTransitions?: number };
}

const program = fileURLToPath(new URL('kube-candidate.ts', import.meta.url));
const SHORT: LeaseTimes = { leaseMs: 6_000, renewDeadlineMs: 4_000, retryMs: 800 };
const kube = sharedKube();
let fixture: Fixture;
let folder: string;
const children: ChildProcess[] = [];

beforeAll(() => {
  fixture = aFixture(kube.kubeconfig);
  folder = mkdtempSync(join(tmpdir(), 'penstock-leader-'));
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});
afterAll(async () => {
  await fixture.client.close();
  rmSync(folder, { recursive: true, force: true });
});

interface Replicas {
  readonly namespace: string;
  acts(): readonly Act[];
  leader(): string | undefined;
  start(identity: string): ChildProcess;
  lease(): Promise<Lease>;
}

async function replicas(prefix: string, times: LeaseTimes): Promise<Replicas> {
  const namespace = await aNamespace(fixture.client, prefix);
  const record = join(folder, `${namespace}.jsonl`);
  const acts = (): readonly Act[] => {
    if (!existsSync(record)) return [];
    const lines = readFileSync(record, 'utf8').split('\n');
    return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as Act);
  };
  return {
    namespace,
    acts,
    leader: () => acts().findLast(({ what }) => what === 'act')?.identity,
    start: (identity) => {
      const child = spawn(
        process.execPath,
        [program, kube.kubeconfig, namespace, identity, record, JSON.stringify(times)],
        { stdio: 'inherit' },
      );
      children.push(child);
      return child;
    },
    lease: () => fixture.client.get<Lease>(LEASES, { namespace, name: 'replicas' }),
  };
}

/** Each change of the acting replica, in the order of the record: `a`, `b` for a handover that never overlapped. */
function turns(acts: readonly Act[]): string[] {
  const acting = acts.filter(({ what }) => what === 'act').map(({ identity }) => identity);
  return acting.filter((identity, i) => identity !== acting[i - 1]);
}

describe('two replicas', () => {
  test('the leader is killed: the other acts within 30 s, and never do both', async () => {
    const both = await replicas('kill', LEASE_TIMES);
    const first = both.start('a');
    await until(() => both.leader() === 'a', { what: 'a to lead', timeoutMs: 20_000 });
    both.start('b');
    await until(() => both.acts().some(({ identity, what }) => identity === 'b' && what === 'up'), {
      what: 'b to be up',
      timeoutMs: 20_000,
    });
    // Some renewals, so that b has seen the holder live.
    const { spec } = await both.lease();
    await until(async () => (await both.lease()).spec?.renewTime !== spec?.renewTime, { what: 'a renewal' });
    expect(turns(both.acts())).toEqual(['a']);
    const killed = Date.now();
    first.kill('SIGKILL');
    await until(() => both.leader() === 'b', { what: 'b to lead', timeoutMs: 30_000 });
    const taken = both.acts().find(({ identity, what }) => identity === 'b' && what === 'act')?.at ?? 0;
    expect(taken - killed).toBeLessThan(30_000);
    // Not at once either: a might have been alive and cut off.
    expect(taken - killed).toBeGreaterThan(LEASE_TIMES.renewDeadlineMs);
    expect(turns(both.acts())).toEqual(['a', 'b']);
    expect((await both.lease()).spec).toMatchObject({ holderIdentity: 'b', leaseTransitions: 1 });
  });

  test('a leader that freezes and comes back after its lease ran out does not act once more', async () => {
    const both = await replicas('freeze', SHORT);
    const first = both.start('a');
    await until(() => both.leader() === 'a', { what: 'a to lead', timeoutMs: 20_000 });
    both.start('b');
    await until(() => both.acts().some(({ identity }) => identity === 'b'), { what: 'b to be up', timeoutMs: 20_000 });
    first.kill('SIGSTOP');
    await until(() => both.leader() === 'b', { what: 'b to lead', timeoutMs: 20_000 });
    first.kill('SIGCONT');
    await until(() => both.acts().some(({ identity, what }) => identity === 'a' && what === 'stopped lost'), {
      what: 'a to notice',
    });
    const { spec } = await both.lease();
    await until(async () => (await both.lease()).spec?.renewTime !== spec?.renewTime, { what: 'b to go on' });
    expect(turns(both.acts())).toEqual(['a', 'b']);
    expect(spec?.holderIdentity).toBe('b');
  });

  test('a leader that is asked to stop hands over at once', async () => {
    const both = await replicas('release', LEASE_TIMES);
    const first = both.start('a');
    await until(() => both.leader() === 'a', { what: 'a to lead', timeoutMs: 20_000 });
    both.start('b');
    await until(() => both.acts().some(({ identity }) => identity === 'b'), { what: 'b to be up', timeoutMs: 20_000 });
    const asked = Date.now();
    first.kill('SIGTERM');
    const [code] = (await once(first, 'exit')) as [number | null];
    expect(code).toBe(0);
    await until(() => both.leader() === 'b', { what: 'b to lead', timeoutMs: 10_000 });
    const taken = both.acts().find(({ identity, what }) => identity === 'b' && what === 'act')?.at ?? 0;
    expect(taken - asked).toBeLessThan(LEASE_TIMES.renewDeadlineMs);
    expect(turns(both.acts())).toEqual(['a', 'b']);
    expect(
      both
        .acts()
        .filter(({ identity }) => identity === 'a')
        .at(-1)?.what,
    ).toBe('stopped released');
  });
});
