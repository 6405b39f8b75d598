// SPDX-License-Identifier: Apache-2.0
import { LANES } from '../lease-queue.ts';
import type { Lane } from '../lease-queue.ts';
import { IndexedHeap } from './indexed-heap.ts';
import type { QueuedRequest } from './request.ts';
import { tagOf } from './tenants.ts';
import type { Tenant } from './tenants.ts';

const inOrder = (a: QueuedRequest, b: QueuedRequest): boolean =>
  a.score < b.score || (a.score === b.score && a.seq < b.seq);
const byArrival = (a: QueuedRequest, b: QueuedRequest): boolean =>
  a.createdAt < b.createdAt || (a.createdAt === b.createdAt && a.id < b.id);

/** What waits in one lane of one revision. */
export class Place {
  readonly lane: Lane;
  readonly revision: string;
  /** Tenants that may be given something, by tag. */
  readonly eligible: IndexedHeap<Tenant>;
  /** Requests that have cost a unit its life: given alone, apart from the queues. */
  readonly suspects = new IndexedHeap(inOrder, (one: QueuedRequest) => one.id);
  /** All that waits here, suspects included. */
  readonly arrivals = new IndexedHeap(byArrival, (one: QueuedRequest) => one.id);
  readonly #queues = new Map<string, IndexedHeap<QueuedRequest>>();

  constructor(lane: Lane, revision: string) {
    this.lane = lane;
    this.revision = revision;
    const byTag = (a: Tenant, b: Tenant): boolean => {
      const [x, y] = [tagOf(a, lane), tagOf(b, lane)];
      return x < y || (x === y && a.name < b.name);
    };
    this.eligible = new IndexedHeap(byTag, (tenant) => tenant.name);
  }

  /** Whether the tenant has ordinary work here only now. */
  put(request: QueuedRequest): boolean {
    this.arrivals.put(request);
    if (request.losses > 0) {
      this.suspects.put(request);
      return false;
    }
    const known = this.#queues.get(request.tenant);
    const queue = known ?? new IndexedHeap(inOrder, (one: QueuedRequest) => one.id);
    queue.put(request);
    if (known === undefined) this.#queues.set(request.tenant, queue);
    return known === undefined;
  }

  /** Whether that was the tenant's last ordinary work here. */
  take(request: QueuedRequest): boolean {
    this.arrivals.delete(request.id);
    if (this.suspects.delete(request.id)) return false;
    const queue = this.#queues.get(request.tenant);
    if (queue?.delete(request.id) !== true || queue.size > 0) return false;
    this.#queues.delete(request.tenant);
    return true;
  }

  /** First of the eligible tenants' work; it stays until taken. */
  next(): QueuedRequest | undefined {
    const tenant = this.eligible.peek();
    return tenant === undefined ? undefined : this.#queues.get(tenant.name)?.peek();
  }
}

/** All places of one app with work. */
export class Pending {
  readonly #places = new Map<string, Place>();

  get(lane: Lane, revision: string): Place | undefined {
    return this.#places.get(`${lane}:${revision}`);
  }

  /** The place, made where there is none. */
  at(lane: Lane, revision: string): Place {
    const found = this.get(lane, revision);
    if (found !== undefined) return found;
    const made = new Place(lane, revision);
    this.#places.set(`${lane}:${revision}`, made);
    return made;
  }

  drop(place: Place): void {
    this.#places.delete(`${place.lane}:${place.revision}`);
  }

  all(): Iterable<Place> {
    return this.#places.values();
  }

  queuedByRevision(): Record<string, number> {
    const counts: Record<string, number> = {};
    for (const { revision, arrivals } of this.all()) counts[revision] = (counts[revision] ?? 0) + arrivals.size;
    return counts;
  }

  revisions(): string[] {
    return [...new Set([...this.all()].map((place) => place.revision))];
  }

  oldestAt(): number | undefined {
    const heads = [...this.all()].flatMap(({ arrivals }) => arrivals.peek()?.createdAt ?? []);
    return heads.length === 0 ? undefined : Math.min(...heads);
  }

  /** Up to `limit` of a revision: online first, in each lane the oldest first. */
  ofRevision(revision: string, limit: number): readonly QueuedRequest[] {
    const found: QueuedRequest[] = [];
    for (const lane of LANES) found.push(...(this.get(lane, revision)?.arrivals.first(limit - found.length) ?? []));
    return found;
  }
}
