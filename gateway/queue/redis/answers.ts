// SPDX-License-Identifier: Apache-2.0
import type { AppDemand, EnqueueOutcome, Lease, LeaseAnswer, LeaseRequest, NewRequest } from '../lease-queue.ts';
import { decodeLease, decodeRecord, newRecord, unpackId } from './codec.ts';
import { ENQUEUE_ARGS } from './lua/enqueue.ts';
import { bufferOf, chunked, listOf, numberOf, textOf } from './replies.ts';

/** What became of one request of a run of the enqueue script. */
export interface Arrival {
  readonly at: number;
  readonly closed: boolean;
  readonly answer: unknown;
}

/** One for each request that `args` hold. */
export function arrivalsOf(args: readonly unknown[], reply: unknown): Arrival[] {
  const [at, open, ...answers] = listOf(reply);
  const closed = textOf(open) === 'closed';
  return Array.from({ length: args.length / ENQUEUE_ARGS }, (_, i) => ({ at: Number(at), closed, answer: answers[i] }));
}

export function enqueueOutcome(request: NewRequest, arrival: Arrival | undefined): EnqueueOutcome {
  if (arrival === undefined) throw new Error('the queue answered fewer requests than it was given');
  const { at, closed, answer } = arrival;
  if (closed) return { kind: 'closed' };
  if (!Array.isArray(answer)) return { kind: 'queued', record: newRecord(request, at) };
  const [word, ...parts] = answer.map(bufferOf);
  const kind = textOf(word);
  if (kind === 'full') return { kind, queued: Number(answer[1]), limit: Number(answer[2]) };
  if (kind === 'conflict') return { kind, id: unpackId(parts[0] ?? Buffer.alloc(0)) };
  return { kind: kind === 'queued' ? 'queued' : 'joined', record: decodeRecord(request.app, parts) };
}

/** @param reply what the lease script answered to this request */
export function leaseAnswer(request: LeaseRequest, reply: unknown): LeaseAnswer {
  const [verdict, recheck, ends, ...leases] = listOf(reply);
  const recheckAt = numberOf(recheck);
  return {
    leases: leasesOf(request, Number(ends), leases),
    verdict: textOf(verdict) as LeaseAnswer['verdict'],
    ...(recheckAt === undefined ? {} : { recheckAt }),
  };
}

const PARTS_OF_A_LEASE = 4;

function leasesOf(request: LeaseRequest, expiresAt: number, flat: readonly unknown[]): Lease[] {
  return chunked(flat.map(bufferOf), PARTS_OF_A_LEASE).map(([id, state, fixed, ended]) => ({
    ...decodeLease(request.app, [id, state, fixed, ended]),
    expiresAt,
  }));
}

export function demandOf(reply: unknown): AppDemand {
  const [leased, oldest, revisions, units] = listOf(reply);
  // One pair for each lane of a revision.
  const counts = new Map<string, number>();
  for (const [revision, count] of chunked(listOf(revisions), 2))
    counts.set(textOf(revision), (counts.get(textOf(revision)) ?? 0) + Number(count));
  const oldestQueuedAt = numberOf(oldest);
  return {
    queued: [...counts.values()].reduce((sum, count) => sum + count, 0),
    queuedByRevision: Object.fromEntries(counts),
    leased: Number(leased),
    ...(oldestQueuedAt === undefined ? {} : { oldestQueuedAt }),
    units: listOf(units).map((one) => {
      const [unit, revision, leases, seen, retired] = listOf(one);
      return {
        unit: textOf(unit),
        revision: textOf(revision),
        leases: Number(leases),
        lastSeenAt: Number(seen),
        retired: Number(retired) === 1,
      };
    }),
  };
}
