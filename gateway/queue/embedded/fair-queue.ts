// SPDX-License-Identifier: Apache-2.0
import { LANES } from '../lease-queue.ts';
import type { Lane, TenantShare } from '../lease-queue.ts';
import { RENORMALISE_ABOVE, TAG_LIMIT } from '../limits.ts';
import { Pending } from './pending.ts';
import type { Place } from './pending.ts';
import type { QueuedRequest } from './request.ts';
import { Sharing } from './sharing.ts';
import { isKnown, newTenant, setShare, tagOf } from './tenants.ts';
import type { Tenant, VirtualTimes } from './tenants.ts';

/**
 * Start-time fair queueing of one app in GPU time (Goyal 1996; corrected at the end of each attempt as in KEP-1040): the tenant that has
 * had least for its weight goes first. A tenant has one tag in each lane, whatever the revisions of its work.
 */
export class FairQueue {
  readonly pending = new Pending();
  readonly sharing = new Sharing();
  readonly virtual: VirtualTimes = { online: 0, batch: 0 };
  /** Kept empty until it has taken a suspect; '' = none. */
  drain = '';
  readonly #tenants = new Map<string, Tenant>();
  readonly #changed = new Set<string>();
  /** Without work, yet ahead of the others: remembered until these have caught up. */
  readonly #ahead = new Set<string>();

  get hasChanged(): boolean {
    return this.#changed.size > 0;
  }

  /** Tenants whose stored form is out of date, since the last call; undefined = gone. */
  takeChanged(): [string, Tenant | undefined][] {
    const changed = [...this.#changed].map((name): [string, Tenant | undefined] => [name, this.#tenants.get(name)]);
    this.#changed.clear();
    return changed;
  }

  tenant(name: string): Tenant | undefined {
    return this.#tenants.get(name);
  }

  restoreTenant(tenant: Tenant): void {
    this.#tenants.set(tenant.name, tenant);
    this.#ahead.add(tenant.name);
  }

  /** Takes queued work in as it was before a restart: no tag moves. Leased requests first, they may park their tenant. */
  restore(request: QueuedRequest): void {
    const tenant = this.#tenantOf(request.tenant);
    if (request.state === 'leased') {
      tenant.inFlight++;
      return;
    }
    const place = this.#put(tenant, request);
    if (tenant.places.has(place) && hasRoom(tenant)) place.eligible.put(tenant);
  }

  /**
   * Before a new request is queued: who has nothing here and is not ahead of the others starts from nothing. The share that was told
   * holds at once. Answers the tenant, and whether a cap that grew made work of it eligible.
   */
  admit(name: string, share: TenantShare | undefined): { readonly tenant: Tenant; readonly freed: boolean } {
    const known = this.#tenants.get(name);
    if (known !== undefined && !isKnown(known, this.virtual)) this.#forget(name);
    const tenant = this.#tenantOf(name);
    return { tenant, freed: share !== undefined && this.setShare(tenant, share) };
  }

  setShare(tenant: Tenant, share: TenantShare): boolean {
    setShare(tenant, share);
    this.#changed.add(tenant.name);
    if (hasRoom(tenant)) return this.#unpark(tenant);
    this.#park(tenant);
    return false;
  }

  /** Only of a tenant of whom the queue knows something. Whether its work became eligible. */
  changeShare(name: string, share: TenantShare): boolean {
    const known = this.#tenants.get(name);
    return known !== undefined && isKnown(known, this.virtual) && this.setShare(known, share);
  }

  add(request: QueuedRequest): void {
    const tenant = this.#tenantOf(request.tenant);
    const place = this.#put(tenant, request);
    if (tenant.places.has(place) && hasRoom(tenant)) this.#join(tenant, place);
  }

  /** What the last suspect leaves to ordinary work is taken up once it is known where it went: see `charge`, `add` and `ended`. */
  remove(request: QueuedRequest): void {
    const place = this.pending.get(request.lane, request.revision);
    const tenant = this.#tenants.get(request.tenant);
    if (place === undefined || tenant === undefined) return;
    tenant.queued--;
    if (request.losses > 0) tenant.suspects--;
    if (place.take(request)) {
      tenant.places.delete(place);
      place.eligible.delete(tenant.name);
    }
    if (place.arrivals.size > 0) return;
    this.pending.drop(place);
    if (place.lane === 'batch') this.sharing.end(place.revision);
  }

  /** A lease, of a request that has left its place. A suspect is out of the order, so it does not move the lane's virtual time. */
  charge(request: QueuedRequest, cost: number): void {
    const { lane } = request;
    const tenant = this.#tenantOf(request.tenant);
    const tag = tagOf(tenant, lane);
    if (request.losses === 0) this.virtual[lane] = Math.max(this.virtual[lane], tag);
    tenant.tags[lane].finish = Math.min(TAG_LIMIT, tag + Math.max(1, Math.floor(cost / tenant.weight)));
    request.charged = cost;
    tenant.inFlight++;
    if (hasRoom(tenant)) this.#settle(tenant, lane);
    else this.#park(tenant);
    this.#changed.add(tenant.name);
  }

  /** The charge becomes what was really used. */
  correct(request: QueuedRequest, actual: number): void {
    const { lane } = request;
    const tenant = this.#tenantOf(request.tenant);
    const delta = actual - request.charged;
    request.charged = actual;
    const tags = tenant.tags[lane];
    tags.finish = Math.min(TAG_LIMIT, Math.max(0, tags.finish + Math.floor(delta / tenant.weight)));
    this.sharing.correct(request.revision, lane, request.period, delta);
    this.#settle(tenant, lane);
    this.#changed.add(tenant.name);
  }

  /** A lease ended. Whether work of its tenant may be given again. */
  discharge(request: QueuedRequest, actual: number): boolean {
    this.correct(request, actual);
    const tenant = this.#tenantOf(request.tenant);
    tenant.inFlight--;
    return hasRoom(tenant) && this.#unpark(tenant);
  }

  /** A request of the tenant ended: nothing is kept of one of which nothing needs to be. Whether work of it may be given again. */
  ended(name: string): boolean {
    const tenant = this.#tenants.get(name);
    if (tenant === undefined) return false;
    if (tenant.queued > 0 || tenant.inFlight > 0) return hasRoom(tenant) && this.#unpark(tenant);
    if (isKnown(tenant, this.virtual)) this.#ahead.add(name);
    else this.#forget(name);
    return false;
  }

  /** The app is idle: an idle tenant has neither credit nor penalty, and time starts anew. */
  reset(): void {
    for (const name of this.#tenants.keys()) this.#changed.add(name);
    this.#tenants.clear();
    this.#ahead.clear();
    this.sharing.clear();
    this.virtual.online = 0;
    this.virtual.batch = 0;
    this.drain = '';
  }

  /** Tenants without work that the others have caught up with since. */
  forgetPassed(): void {
    const ahead = [...this.#ahead];
    this.#ahead.clear();
    for (const name of ahead) this.ended(name);
  }

  /** Brings a lane's times down again long before they could lose their last digits. Whether it did. */
  renormalise(): boolean {
    const far = LANES.filter((lane) => this.virtual[lane] > RENORMALISE_ABOVE);
    return far.filter((lane) => this.#lower(lane)).length > 0;
  }

  /** Not for a small gain: while one tenant is far behind that would be work for all in every step. */
  #lower(lane: Lane): boolean {
    const places = [...this.pending.all()].filter((place) => place.lane === lane);
    const tags = places.flatMap(({ eligible }) => {
      const first = eligible.peek();
      return first === undefined ? [] : [tagOf(first, lane)];
    });
    // No eligible tag is smaller, so the heaps keep their order.
    const by = tags.length === 0 ? this.virtual[lane] : Math.min(...tags);
    if (by < Math.floor(this.virtual[lane] / 2)) return false;
    this.virtual[lane] = Math.max(0, this.virtual[lane] - by);
    for (const tenant of this.#tenants.values()) {
      const { finish, floor } = tenant.tags[lane];
      Object.assign(tenant.tags[lane], { finish: Math.max(0, finish - by), floor: Math.max(0, floor - by) });
      this.#changed.add(tenant.name);
    }
    return true;
  }

  #tenantOf(name: string): Tenant {
    const known = this.#tenants.get(name);
    if (known !== undefined) return known;
    const made = newTenant(name);
    this.#tenants.set(name, made);
    this.#changed.add(name);
    return made;
  }

  #forget(name: string): void {
    this.#tenants.delete(name);
    this.#changed.add(name);
  }

  #put(tenant: Tenant, request: QueuedRequest): Place {
    const place = this.pending.at(request.lane, request.revision);
    tenant.queued++;
    if (place.put(request)) tenant.places.add(place);
    if (request.losses > 0) tenant.suspects++;
    if (!hasRoom(tenant)) this.#park(tenant);
    return place;
  }

  /** Nobody brings credit from a time without work: a tenant comes in where the least served one stands. */
  #join(tenant: Tenant, place: Place): void {
    if (place.eligible.get(tenant.name) !== undefined) return;
    const first = place.eligible.peek();
    const now = first === undefined ? this.virtual[place.lane] : tagOf(first, place.lane);
    const tags = tenant.tags[place.lane];
    if (now > tags.floor) {
      tags.floor = now;
      this.#changed.add(tenant.name);
    }
    place.eligible.put(tenant);
    this.#settle(tenant, place.lane);
  }

  /** One tag in all places of the lane. */
  #settle(tenant: Tenant, lane: Lane): void {
    for (const place of tenant.places)
      if (place.lane === lane && place.eligible.get(tenant.name) !== undefined) place.eligible.put(tenant);
  }

  #park(tenant: Tenant): void {
    for (const place of tenant.places) place.eligible.delete(tenant.name);
  }

  #unpark(tenant: Tenant): boolean {
    const parked = [...tenant.places].filter((place) => place.eligible.get(tenant.name) === undefined);
    for (const place of parked) this.#join(tenant, place);
    return parked.length > 0;
  }
}

/** Whether a suspect of it may be given. */
export function mayRun(tenant: Tenant): boolean {
  return tenant.inFlight < tenant.maxInFlight;
}

/** Whether ordinary work of it may be given: it leaves one place to suspects that wait, or it would take each place that comes free. */
function hasRoom(tenant: Tenant): boolean {
  return tenant.inFlight < tenant.maxInFlight - Math.min(1, tenant.suspects);
}
