// SPDX-License-Identifier: Apache-2.0
// The fair order from the textbook: arrays and linear scans, nothing shared with the drivers, no bounds on the work of one call (histories
// stay below them). One app; no payloads, no dedupe, no sweeps. Where the drivers are clever, this one looks again.
import type { Lane, TenantShare } from '#gateway/queue/lease-queue.ts';
import {
  Averages,
  DRAIN_SILENT_MS,
  LANES,
  LANE_WEIGHT,
  PATIENCE_MS,
  RETIRED_MS,
  UNIT_RECHECK_MS,
  UNIT_SILENT_MS,
  UNTRIED,
  compare,
  least,
  place,
  score,
  visible,
  bringDown,
} from './fair-reference.parts.ts';
import type { Job, Machine, Party, RefAsk, RefNew, RefToken } from './fair-reference.parts.ts';

export class Reference {
  now = 0;
  #jobs: Job[] = [];
  #parties = new Map<string, Party>();
  #machines: Machine[] = [];
  #virtual: Record<Lane, number> = { online: 0, batch: 0 };
  readonly #averages = new Averages();
  #sharing = new Map<string, { readonly period: number; online: number; batch: number }>();
  #periods = 0;
  #drain = '';
  #arrivals = 0;

  enqueue(request: RefNew): string {
    const { share } = request;
    if (this.#in('queued', 'leased').length === 0) this.#startAnew();
    else if (!this.#isKnown(request.tenant)) this.#parties.delete(request.tenant);
    const wasKnown = this.#parties.has(request.tenant);
    const party = this.#party(request.tenant);
    if (share !== undefined) this.#tell(request.tenant, share);
    const queued = this.#in('queued').filter((job) => job.tenant === request.tenant).length;
    if (queued >= (party.share.maxQueued ?? Infinity)) {
      if (!wasKnown) this.#parties.delete(request.tenant);
      return `full ${queued}`;
    }
    this.#queueNew(request);
    return 'queued';
  }

  /** As a new request of the tenant, with the content of the dead letter. */
  redrive(id: string, newId: string, revision: string, share: TenantShare): string {
    const letter = this.#jobs.find((job) => job.id === id);
    if (letter?.redriven === true) return 'redriven';
    if (letter?.dead !== true) return 'unknown';
    Object.assign(letter, { dead: false, redriven: true });
    if (this.#in('queued', 'leased').length === 0) this.#startAnew();
    else if (!this.#isKnown(letter.tenant)) this.#parties.delete(letter.tenant);
    const { tenant, lane, priority, cost, bytes, maxAttempts, maxLosses } = letter;
    const kept = { tenant, lane, priority, cost, bytes, maxAttempts, maxLosses };
    this.#tell(tenant, share);
    this.#queueNew({ ...kept, id: newId, revision, deadline: undefined, share: undefined });
    return 'redriven';
  }

  setShares(shares: ReadonlyMap<string, TenantShare>): void {
    for (const [tenant, share] of [...shares].toSorted(([a], [b]) => compare([a], [b])))
      if (this.#isKnown(tenant)) this.#tell(tenant, share);
  }

  lease(ask: RefAsk): { readonly ids: readonly string[]; readonly verdict: string } {
    const machine = this.#machine(ask.unit);
    if (machine.retired) return { ids: [], verdict: 'refused' };
    Object.assign(machine, { revision: ask.revision, seen: this.now, forgetAt: this.now + UNIT_SILENT_MS });
    const given: Job[] = [];
    const max = ask.max === 0 || this.#mustDrain(ask) ? 0 : ask.max;
    this.#take(ask, max, given);
    if (given.length < ask.max || ask.max === 0) {
      this.#endOverdue();
      this.#rekey(ask.current);
      this.#take(ask, max, given);
    }
    const waits = this.#in('queued').some((job) => job.revision === ask.revision && ask.lanes.includes(job.lane));
    const stays = this.#held(ask.unit).length > 0 || waits || ask.revision === ask.current;
    if (!stays) this.retire(ask.unit);
    return { ids: given.map((job) => job.id), verdict: stays ? 'stay' : 'leave' };
  }

  extend(token: RefToken, leaseMs: number): boolean {
    const machine = this.#machines.find((one) => one.name === token.unit);
    if (machine === undefined || machine.retired) return false;
    Object.assign(machine, { seen: this.now, forgetAt: this.now + UNIT_SILENT_MS });
    const job = this.#holder(token);
    if (job?.state !== 'leased') return false;
    job.until = this.now + leaseMs;
    return true;
  }

  complete(token: RefToken, serviceMicros: number): string {
    const job = this.#holder(token);
    if (job?.state === 'succeeded') return 'committed';
    if (job?.state === 'cancelled') return 'cancelled';
    if (job?.state !== 'queued' && job?.state !== 'leased') return 'lost';
    if (job.state === 'leased' && job.cancelled) {
      this.#correct(job, this.#elapsed(job, this.now));
      return this.#become(job, 'cancelled');
    }
    this.#correct(job, Math.floor((serviceMicros * job.fraction) / 1e6));
    this.#become(job, 'succeeded');
    this.#averages.teach(job.revision, job.bytes, serviceMicros);
    return 'committed';
  }

  fail(token: RefToken, kind: 'lost' | 'handler' | 'input' | 'timeout' | 'released'): string {
    const job = this.#holder(token);
    if (job?.state !== 'leased') return 'lost';
    this.#correct(job, kind === 'released' && !job.cancelled ? 0 : this.#elapsed(job, this.now));
    job.nonce = '';
    this.#become(job, 'ended');
    if (kind === 'lost') job.losses++;
    else if (kind !== 'released') job.failures++;
    if (job.cancelled) return this.#become(job, 'cancelled');
    if (kind === 'input') return this.#become(job, 'failed');
    if (job.losses > job.maxLosses && kind === 'lost') return this.#die(job);
    if (job.failures >= job.maxAttempts && kind !== 'lost' && kind !== 'released') return this.#die(job);
    return this.#requeue(job);
  }

  cancel(id: string): string {
    const job = this.#jobs.find((one) => one.id === id);
    if (job === undefined) return 'unknown';
    if (job.state === 'leased') {
      job.cancelled = true;
      return 'cancelling';
    }
    if (job.state !== 'queued') return 'final';
    return this.#become(job, 'cancelled');
  }

  retire(unit: string): string {
    this.#endOverdue();
    if (this.#held(unit).length > 0) return 'busy';
    const machine = this.#machine(unit);
    if (!machine.retired) Object.assign(machine, { retired: true, forgetAt: this.now + RETIRED_MS });
    return 'retired';
  }

  expire(current: string): void {
    for (const lane of LANES) bringDown(lane, this.#virtual, [...this.#parties.values()]);
    this.#endOverdue();
    for (const job of this.#in('queued'))
      if (job.deadline !== undefined && job.deadline <= this.now) this.#become(job, 'expired');
    for (const machine of this.#machines.filter((one) => one.forgetAt <= this.now)) {
      if (this.#held(machine.name).length > 0) machine.forgetAt = this.now + UNIT_RECHECK_MS;
      else this.#machines.splice(this.#machines.indexOf(machine), 1);
    }
    this.#rekey(current);
    const used = (revision: string): boolean => this.#in('queued').some((job) => job.revision === revision);
    this.#averages.keep((revision) => revision === current || this.#hasUnits(revision) || used(revision));
  }

  /** What a client can see of it. */
  view(id: string): unknown {
    const job = this.#jobs.find((one) => one.id === id);
    return job === undefined ? undefined : visible(job);
  }

  counts(): unknown {
    return { queued: this.#in('queued').length, leased: this.#in('leased').length };
  }

  #party(name: string): Party {
    const known = this.#parties.get(name);
    if (known !== undefined) return known;
    const lanes = (): Record<Lane, number> => ({ online: 0, batch: 0 });
    const made: Party = { share: { weight: 1 }, finish: lanes(), floor: lanes(), eligible: [] };
    this.#parties.set(name, made);
    return made;
  }

  #tag(name: string, lane: Lane): number {
    const { finish, floor } = this.#party(name);
    return Math.max(finish[lane], floor[lane]);
  }

  #isKnown(name: string): boolean {
    if (this.#in('queued', 'leased').some((job) => job.tenant === name)) return true;
    if (!this.#parties.has(name) || this.#in('queued', 'leased').length === 0) return false;
    return LANES.some((lane) => this.#tag(name, lane) > this.#virtual[lane]);
  }

  #startAnew(): void {
    this.#parties.clear();
    this.#sharing.clear();
    this.#virtual = { online: 0, batch: 0 };
    this.#drain = '';
  }

  #tell(name: string, share: TenantShare): void {
    this.#party(name).share = share;
    this.#look(name);
  }

  /** Places that its cap leaves. */
  #room(name: string): number {
    const leased = this.#in('leased').filter((job) => job.tenant === name);
    return (this.#party(name).share.maxInFlight ?? Infinity) - leased.length;
  }

  /** Looks where the tenant is eligible now; where it was not before it joins, at the place of the least served one. */
  #look(name: string): void {
    const party = this.#party(name);
    const queued = this.#in('queued').filter((job) => job.tenant === name);
    const ordinary = queued.filter((job) => job.losses === 0);
    // One place is left to suspects while any wait.
    const isOpen = this.#room(name) > (ordinary.length < queued.length ? 1 : 0);
    const places = isOpen ? [...new Set(ordinary.map((job) => `${job.lane} ${job.revision}`))] : [];
    const joined = places.filter((place) => !party.eligible.includes(place));
    const floors = joined.map((place) => {
      const lane = place.split(' ')[0] as Lane;
      const others = [...this.#parties].filter(([, one]) => one.eligible.includes(place));
      const tags = others.map(([other]) => this.#tag(other, lane));
      return [lane, tags.length === 0 ? this.#virtual[lane] : Math.min(...tags)] as const;
    });
    party.eligible = places;
    for (const [lane, floor] of floors) party.floor[lane] = Math.max(party.floor[lane], floor);
  }

  #eligible(lane: Lane, revision: string): string[] {
    return [...this.#parties].filter(([, one]) => one.eligible.includes(`${lane} ${revision}`)).map(([name]) => name);
  }

  #in(...states: readonly string[]): Job[] {
    return this.#jobs.filter((job) => states.includes(job.state));
  }

  #held(unit: string): Job[] {
    return this.#in('leased').filter((job) => job.unit === unit);
  }

  #holder({ id, unit, epoch, nonce }: RefToken): Job | undefined {
    return this.#jobs.find(
      (job) => job.id === id && nonce !== '' && job.nonce === nonce && job.epoch === epoch && job.unit === unit,
    );
  }

  #queueNew({ share: _share, ...request }: RefNew): void {
    this.#jobs.push({ ...request, ...UNTRIED, seq: ++this.#arrivals, createdAt: this.now });
    this.#look(request.tenant);
  }

  #requeue(job: Job): string {
    job.requeuedAt = this.now;
    this.#become(job, 'queued');
    return 'requeued';
  }

  #die(job: Job): string {
    job.dead = true;
    return this.#become(job, 'failed');
  }

  #become(job: Job, state: string): string {
    job.state = state;
    this.#endSharing();
    this.#look(job.tenant);
    return state;
  }

  #endOverdue(): void {
    for (const job of this.#in('leased').toSorted((a, b) => compare([a.until, a.id], [b.until, b.id]))) {
      if (job.until > this.now) continue;
      this.#correct(job, this.#elapsed(job, job.until));
      this.#become(job, 'ended');
      job.losses++;
      if (job.cancelled) this.#become(job, 'cancelled');
      else if (job.losses > job.maxLosses) this.#die(job);
      else this.#requeue(job);
    }
  }

  #machine(name: string): Machine {
    const known = this.#machines.find((one) => one.name === name);
    if (known !== undefined) return known;
    const made = { name, revision: '', seen: this.now, forgetAt: 0, retired: false };
    this.#machines.push(made);
    return made;
  }

  #hasUnits(revision: string): boolean {
    return this.#machines.some((one) => !one.retired && one.revision === revision);
  }

  #rekey(current: string): void {
    const stranded = this.#in('queued').filter((job) => job.revision !== current && !this.#hasUnits(job.revision));
    for (const job of stranded.toSorted((a, b) => compare(place(a), place(b)))) {
      job.revision = current;
      this.#endSharing();
      this.#look(job.tenant);
    }
  }

  #take(ask: RefAsk, max: number, given: Job[]): void {
    if (max === 0) return;
    const batch = this.#in('queued').filter((job) => job.lane === 'batch' && job.revision === ask.revision);
    const oldest = Math.min(...batch.map((job) => job.createdAt));
    if (!this.#sharing.has(ask.revision) && this.now - oldest >= ask.grace)
      this.#sharing.set(ask.revision, { period: ++this.#periods, online: 0, batch: 0 });
    if (this.#held(ask.unit).length === 0) {
      const suspect = this.#suspect(ask, (passed) => this.#become(passed, 'expired'));
      if (suspect !== undefined) this.#give(ask, suspect, given, false);
    }
    while (given.length < max && !this.#held(ask.unit).some((job) => job.losses > 0)) {
      const open = LANES.filter((lane) => ask.lanes.includes(lane) && this.#eligible(lane, ask.revision).length > 0);
      const shared = this.#sharing.get(ask.revision);
      const lane = open.length === 2 && shared !== undefined && shared.batch < shared.online ? 'batch' : open[0];
      if (lane === undefined) return;
      const tenant = least(this.#eligible(lane, ask.revision), (name) => [this.#tag(name, lane), name]);
      const mine = this.#in('queued').filter(
        (job) => job.tenant === tenant && job.lane === lane && job.revision === ask.revision && job.losses === 0,
      );
      const job = least(mine, score)!;
      if (job.deadline !== undefined && job.deadline <= this.now) this.#become(job, 'expired');
      else this.#give(ask, job, given, ask.lanes.length === 2 && open.length === 1);
    }
  }

  #suspect(ask: RefAsk, passed: (job: Job) => void, isDraining = false): Job | undefined {
    for (const lane of LANES.filter((one) => ask.lanes.includes(one))) {
      const list = this.#in('queued').filter(
        (job) => job.losses > 0 && job.lane === lane && job.revision === ask.revision,
      );
      for (const job of list.toSorted((a, b) => compare(score(a), score(b)))) {
        if (job.deadline !== undefined && job.deadline <= this.now) passed(job);
        else if (isDraining ? this.#party(job.tenant).share.maxInFlight !== 0 : this.#room(job.tenant) > 0) return job;
      }
    }
    return undefined;
  }

  #mustDrain(ask: RefAsk): boolean {
    const held = this.#held(ask.unit);
    const canDrain = held.length > 0 && held.every((job) => job.losses === 0);
    const suspect = canDrain ? this.#suspect(ask, () => {}, this.#drain === ask.unit) : undefined;
    if (this.#drain === ask.unit) {
      if (suspect !== undefined) return true;
      this.#drain = '';
      return false;
    }
    const other = this.#machines.find((one) => one.name === this.#drain);
    if (other !== undefined && !other.retired && this.now - other.seen < DRAIN_SILENT_MS) return false;
    if (suspect === undefined || this.now - suspect.requeuedAt < PATIENCE_MS) return false;
    this.#drain = ask.unit;
    return true;
  }

  #give(ask: RefAsk, job: Job, given: Job[], alone: boolean): void {
    const { lane, revision, tenant } = job;
    const tag = this.#tag(tenant, lane);
    const expected = this.#averages.of(revision, job.bytes);
    const cost = job.cost > 0 ? job.cost : Math.max(1, Math.floor((expected * ask.fraction) / 1e6));
    const { share, finish } = this.#party(tenant);
    if (job.losses === 0) this.#virtual[lane] = Math.max(this.#virtual[lane], tag);
    finish[lane] = Math.min(2 ** 52, tag + Math.max(1, Math.floor(cost / share.weight)));
    const attempt = { epoch: job.epoch + 1, nonce: ask.nonces[given.length], unit: ask.unit, leasedAt: this.now };
    Object.assign(job, attempt, { until: this.now + ask.leaseMs, fraction: ask.fraction, charged: cost });
    this.#become(job, 'leased');
    const shared = this.#sharing.get(revision);
    job.period = shared?.period ?? 0;
    if (shared !== undefined) {
      const other = lane === 'online' ? 'batch' : 'online';
      shared[lane] += Math.max(1, Math.floor(cost / LANE_WEIGHT[lane]));
      if (alone) shared[other] = Math.max(shared[other], shared[lane]);
    }
    given.push(job);
  }

  /** A period of sharing ends with the revision's last queued batch request. */
  #endSharing(): void {
    for (const revision of this.#sharing.keys())
      if (!this.#in('queued').some((job) => job.lane === 'batch' && job.revision === revision))
        this.#sharing.delete(revision);
  }

  #elapsed(job: Job, end: number): number {
    return Math.floor((Math.max(0, end - job.leasedAt) * job.fraction) / 1e3);
  }

  #correct(job: Job, actual: number): void {
    const { share, finish } = this.#party(job.tenant);
    const delta = actual - job.charged;
    job.charged = actual;
    finish[job.lane] = Math.min(2 ** 52, Math.max(0, finish[job.lane] + Math.floor(delta / share.weight)));
    const shared = this.#sharing.get(job.revision);
    if (shared?.period === job.period)
      shared[job.lane] = Math.max(0, shared[job.lane] + Math.floor(delta / LANE_WEIGHT[job.lane]));
  }
}
