// SPDX-License-Identifier: Apache-2.0
// What takes longer than a lease, and who dies meanwhile: gateways, Redis and S3 as processes, units as processes. Times are a fifth of
// those that matter in production, with the ratios kept: an inference of 70 s under a lease of 30 s is one of 14 s under one of 6 s.
import { expect, it } from 'vitest';
import { until } from '#test/until.ts';
import { startService, startWorkerFleet } from './worker.fleet.ts';

const TEST_MS = 300_000;
/** Heartbeats come every two seconds; a machine that stands still for four does not lose a lease yet. */
const LEASE_SECONDS = 6;
/** 70 s ÷ 30 s of a lease. */
const INFERENCE_MS = 14_000;
/** 150 s ÷ 30 s of a lease: a large image that is pulled, a large model that is loaded. */
const START_MS = 30_000;
const lease = { PENSTOCK_LEASE_SECONDS: String(LEASE_SECONDS) };
const patient = { timeoutMs: 60_000 };

it(
  'an inference of 2⅓ leases runs exactly once, although another unit waits for work',
  async () => {
    const fleet = await startWorkerFleet(1, lease);
    await fleet.worker('echo-1');
    await fleet.worker('echo-2');
    await until(() => fleet.calls().filter((line) => line === 'loaded').length === 2, {
      what: 'two units',
      ...patient,
    });
    const ticket = await fleet.accept({ name: 'long', ms: INFERENCE_MS });
    const [status, bytes] = await fleet.ended(ticket);
    expect([status, bytes.toString()]).toEqual([200, '{"name":"long"}']);
    expect(await fleet.attempts(ticket)).toEqual(['succeeded']);
    expect(fleet.calls().slice(2)).toEqual(['begin long', 'end long']);
  },
  TEST_MS,
);

it(
  'a handler that spins for as long blocks neither its lease nor its neighbour in the unit',
  async () => {
    const fleet = await startWorkerFleet(1, lease);
    await fleet.worker('echo-1', { instances: 2, concurrency: 2, batchSize: 1 });
    const spinning = await fleet.accept({ name: 'spin', spin: INFERENCE_MS });
    await until(() => fleet.calls().includes('begin spin'), { what: 'the spin', ...patient });
    const next = [];
    for (let i = 0; i < 5; i++) next.push(await fleet.accept({ name: `next ${i}` }));
    for (const ticket of next) expect((await fleet.ended(ticket))[0]).toBe(200);
    expect((await fleet.ended(spinning))[0]).toBe(200);
    expect(await fleet.attempts(spinning)).toEqual(['succeeded']);
    expect(fleet.calls().filter((line) => line.startsWith('begin'))).toHaveLength(6);
    expect(fleet.calls().indexOf('end spin')).toBeGreaterThan(fleet.calls().indexOf('begin next 0'));
  },
  TEST_MS,
);

it(
  'a start that takes five leases causes no second execution: what waits for it is leased only then',
  async () => {
    const fleet = await startWorkerFleet(1, lease);
    const tickets = [await fleet.accept({ name: 'a' }), await fleet.accept({ name: 'b' })];
    await fleet.worker('echo-1', { loadMs: START_MS });
    await fleet.worker('echo-2', { loadMs: START_MS });
    for (const ticket of tickets) {
      expect((await fleet.ended(ticket))[0]).toBe(200);
      expect(await fleet.attempts(ticket)).toEqual(['succeeded']);
    }
    const begun = fleet.calls().filter((line) => line.startsWith('begin'));
    expect(begun.toSorted()).toEqual(['begin a', 'begin b']);
  },
  TEST_MS,
);

it(
  'a worker whose gateway is killed hands its late results in to another one, and nothing runs twice',
  async () => {
    const fleet = await startWorkerFleet(2, lease);
    const [first, second] = fleet.gateways;
    if (first === undefined || second === undefined) throw new Error('two gateways are needed');
    const service = await startService(first);
    const unit = await fleet.worker('echo-1', { brokerUrl: service.url, instances: 3, concurrency: 3 });
    // Kept in the record, stored by the gateway, uploaded by a signed URL.
    const sizes = [10, 100_000, 400_000];
    const tickets = [];
    for (const size of sizes) tickets.push(await fleet.accept({ name: `late ${size}`, ms: 4_000, size }, second));
    const count = (what: string): number => fleet.calls().filter((line) => line.startsWith(what)).length;
    await until(() => count('begin') === 3, { what: 'the executions', ...patient });
    await first.end('SIGKILL');
    await until(() => count('end') === 3, { what: 'their ends', ...patient });
    // The leases run out at the gateway that lives: the requests are queued again, and the unit has no way to it yet.
    const leased = async (): Promise<number | undefined> => (await second.demand(fleet.operator)).apps[0]?.leased;
    await until(async () => (await leased()) === 0, { what: 'the end of the leases', ...patient });
    service.choose(second);
    for (const [i, ticket] of tickets.entries()) {
      const [status, bytes] = await fleet.ended(ticket, second);
      expect([status, bytes.length]).toEqual([200, sizes[i]]);
      expect(await fleet.attempts(ticket, second)).toEqual(['succeeded']);
    }
    expect(count('begin')).toBe(3);
    // The unit goes on with the gateway that is there.
    expect((await fleet.ended(await fleet.accept({ name: 'next' }, second), second))[0]).toBe(200);
    expect(unit.child.exitCode).toBeNull();
  },
  TEST_MS,
);

it(
  'what a unit gives back on SIGTERM is next again, before what came after it, and costs nothing',
  async () => {
    const fleet = await startWorkerFleet(1);
    const unit = await fleet.worker('echo-1', { graceSeconds: 1 });
    const long = await fleet.accept({ name: 'long', ms: 60_000 });
    await until(() => fleet.calls().includes('begin long'), { what: 'the first execution', ...patient });
    const short = await fleet.accept({ name: 'short' });
    unit.child.kill('SIGTERM');
    expect(await unit.exit).toEqual({ code: 0, signal: null });
    expect(await fleet.attempts(long)).toEqual(['released']);
    await fleet.worker('echo-2');
    await until(() => fleet.calls().filter((line) => line.startsWith('begin')).length === 2, {
      what: 'the next execution',
      ...patient,
    });
    expect(fleet.calls().at(-1)).toBe('begin long');
    expect(await fleet.attempts(short)).toEqual([]);
  },
  TEST_MS,
);

it(
  'what was accepted is there after a SIGTERM right after the 202, of the gateway and of the unit that had begun',
  async () => {
    const fleet = await startWorkerFleet(1, lease);
    const [gateway] = fleet.gateways;
    const unit = await fleet.worker('echo-1', { graceSeconds: 0 });
    await until(() => fleet.calls().includes('loaded'), { what: 'the unit', ...patient });
    const tickets = await Promise.all(
      Array.from({ length: 10 }, (_, i) =>
        fleet.accept({ name: `r${i}`, ms: 20 }).then(
          (ticket) => {
            // The first that is accepted has both end; the others are accepted, or refused in so many words.
            unit.child.kill('SIGTERM');
            void gateway?.end('SIGTERM');
            return ticket;
          },
          () => undefined,
        ),
      ),
    );
    await unit.exit;
    await gateway?.end('SIGTERM');
    await gateway?.start();
    await fleet.worker('echo-2');
    const accepted = tickets.filter((ticket) => ticket !== undefined);
    expect(accepted.length).toBeGreaterThan(0);
    for (const ticket of accepted) expect((await fleet.ended(ticket))[0]).toBe(200);
  },
  TEST_MS,
);
