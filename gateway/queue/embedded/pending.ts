// SPDX-License-Identifier: Apache-2.0
import type { Lane } from '../lease-queue.ts';
import type { StoredRequest } from '../stored-request.ts';
import { IndexedHeap } from './indexed-heap.ts';

interface TenantQueue {
  readonly tenant: string;
  readonly requests: IndexedHeap<StoredRequest>;
  /** Place among the tenants: arrival of the head. The fair order puts its virtual time here. */
  turn: number;
}

/** Tenants with work in one lane of one revision. */
interface LaneQueue {
  readonly tenants: Map<string, TenantQueue>;
  readonly order: IndexedHeap<TenantQueue>;
}

const inOrder = (a: StoredRequest, b: StoredRequest): boolean =>
  a.score < b.score || (a.score === b.score && a.seq < b.seq);
const byArrival = (a: StoredRequest, b: StoredRequest): boolean =>
  a.createdAt < b.createdAt || (a.createdAt === b.createdAt && a.id < b.id);
const byTurn = (a: TenantQueue, b: TenantQueue): boolean =>
  a.turn < b.turn || (a.turn === b.turn && a.tenant < b.tenant);

/** What waits in one app: lane and revision → tenant → priority, deadline, arrival. */
export class Pending {
  readonly #lanes = new Map<string, LaneQueue>();
  readonly #arrivals = new Map<string, IndexedHeap<StoredRequest>>();

  add(request: StoredRequest): void {
    const lane = this.#laneOf(request);
    const queue = lane.tenants.get(request.tenant) ?? newTenant(lane, request.tenant);
    queue.requests.put(request);
    settle(lane, queue);
    const arrivals = this.#arrivals.get(request.revision) ?? new IndexedHeap(byArrival, (one) => one.id);
    arrivals.put(request);
    this.#arrivals.set(request.revision, arrivals);
  }

  remove(request: StoredRequest): void {
    const lane = this.#laneOf(request);
    const queue = lane.tenants.get(request.tenant);
    if (queue?.requests.delete(request.id) === true) settle(lane, queue);
    if (lane.tenants.size === 0) this.#lanes.delete(laneKey(request.lane, request.revision));
    const arrivals = this.#arrivals.get(request.revision);
    arrivals?.delete(request.id);
    if (arrivals?.size === 0) this.#arrivals.delete(request.revision);
  }

  /** The next to lease; it stays until removed. */
  next(lane: Lane, revision: string): StoredRequest | undefined {
    return this.#lanes.get(laneKey(lane, revision))?.order.peek()?.requests.peek();
  }

  queuedByRevision(): Record<string, number> {
    return Object.fromEntries([...this.#arrivals].map(([revision, arrivals]) => [revision, arrivals.size]));
  }

  revisions(): string[] {
    return [...this.#arrivals.keys()];
  }

  oldestAt(): number | undefined {
    const heads = [...this.#arrivals.values()].flatMap((arrivals) => arrivals.peek()?.createdAt ?? []);
    return heads.length === 0 ? undefined : Math.min(...heads);
  }

  /** Up to `limit` of a revision, oldest first. */
  ofRevision(revision: string, limit: number): readonly StoredRequest[] {
    return this.#arrivals.get(revision)?.first(limit) ?? [];
  }

  #laneOf(request: StoredRequest): LaneQueue {
    const key = laneKey(request.lane, request.revision);
    const found = this.#lanes.get(key);
    if (found !== undefined) return found;
    const made: LaneQueue = { tenants: new Map(), order: new IndexedHeap(byTurn, (queue) => queue.tenant) };
    this.#lanes.set(key, made);
    return made;
  }
}

function laneKey(lane: Lane, revision: string): string {
  return `${lane}:${revision}`;
}

function newTenant(lane: LaneQueue, tenant: string): TenantQueue {
  const queue: TenantQueue = { tenant, turn: 0, requests: new IndexedHeap(inOrder, (one) => one.id) };
  lane.tenants.set(tenant, queue);
  return queue;
}

/** A tenant's place follows its head; without work it has none. */
function settle(lane: LaneQueue, queue: TenantQueue): void {
  const head = queue.requests.peek();
  if (head === undefined) {
    lane.tenants.delete(queue.tenant);
    lane.order.delete(queue.tenant);
    return;
  }
  queue.turn = head.seq;
  lane.order.put(queue);
}
