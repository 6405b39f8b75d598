// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '#base/clock.ts';
import { find } from './apply.ts';
import type { KubeClient } from './client.ts';
import { KubeError, isConflict } from './errors.ts';
import { microTime } from './micro-time.ts';
import { LEASES } from './resource.ts';
import type { CallOptions } from './transport.ts';
import type { KubeObject, ObjectRef } from './types.ts';

/** Of the empty Lease; who holds it writes the rest. */
const FIELD_MANAGER = 'penstock-lease';

interface LeaseSpec {
  readonly holderIdentity?: string;
  readonly leaseDurationSeconds?: number;
  readonly acquireTime?: string;
  readonly renewTime?: string;
  readonly leaseTransitions?: number;
}

interface Lease extends KubeObject {
  readonly spec?: LeaseSpec;
}

export interface LeaseLockOptions {
  readonly client: KubeClient;
  readonly lease: ObjectRef & { readonly namespace: string };
  readonly identity: string;
  readonly leaseMs: number;
  readonly clock: Clock;
}

/** One candidate's view of a Lease. */
export interface LeaseLock {
  /** Takes or renews the lease if it is free, ours or run out; false when somebody else has it. @throws KubeError */
  tryHold(options: CallOptions): Promise<boolean>;
  /** Gives it up, if it is ours. */
  release(options: CallOptions): Promise<void>;
}

export function createLeaseLock(options: LeaseLockOptions): LeaseLock {
  return new Lock(options);
}

class Lock implements LeaseLock {
  readonly #options: LeaseLockOptions;
  /** As last read or written; undefined: none, or not known. */
  #last: Lease | undefined;
  #version = '';
  #seenAt: number;

  constructor(options: LeaseLockOptions) {
    this.#options = options;
    this.#seenAt = options.clock.monotonic();
  }

  async tryHold(options: CallOptions): Promise<boolean> {
    const call = { ...options, urgent: true };
    // Twice: a conflict may be a mere annotation by somebody else, which must not end a leader's term.
    const held = (await this.#tryOnce(call)) ?? (await this.#tryOnce(call));
    if (held !== undefined) return held;
    const { name } = this.#options.lease;
    throw new KubeError(`lease ${name} is being written by others`, { status: 409, reason: 'Conflict' });
  }

  async release(options: CallOptions): Promise<void> {
    const call = { ...options, urgent: true };
    await this.#refresh(call);
    if (!this.#isOurs()) return;
    const renewTime = microTime(this.#options.clock.now());
    await this.#write({ ...this.#last?.spec, holderIdentity: '', leaseDurationSeconds: 1, renewTime }, call);
  }

  /** Undefined when another write came first and it has to be looked at again. */
  async #tryOnce(call: CallOptions): Promise<boolean | undefined> {
    // A holder's own last write is the newest there is, unless somebody took over: then the PUT says 409.
    if (!this.#isOurs()) await this.#refresh(call);
    if (this.#isTaken()) return false;
    try {
      await this.#write(this.#holding(), call);
      return true;
    } catch (err) {
      // Whatever it was, what we know may be outdated: the answer can be lost and the write not.
      this.#last = undefined;
      if (isConflict(err)) return undefined;
      throw err;
    }
  }

  #isOurs(): boolean {
    return this.#last?.spec?.holderIdentity === this.#options.identity;
  }

  #isTaken(): boolean {
    const spec = this.#last?.spec;
    if (!spec?.holderIdentity || this.#isOurs()) return false;
    // The longer one of both durations: a holder configured with more time than we must not be cut short.
    const leaseMs = Math.max(this.#options.leaseMs, (spec.leaseDurationSeconds ?? 0) * 1000);
    return this.#options.clock.monotonic() - this.#seenAt < leaseMs;
  }

  #holding(): LeaseSpec {
    const { identity, leaseMs, clock } = this.#options;
    const spec = this.#last?.spec;
    const now = microTime(clock.now());
    const ours = this.#isOurs();
    return {
      holderIdentity: identity,
      leaseDurationSeconds: Math.ceil(leaseMs / 1000),
      acquireTime: ours ? (spec?.acquireTime ?? now) : now,
      renewTime: now,
      leaseTransitions: (spec?.leaseTransitions ?? 0) + (ours || spec === undefined ? 0 : 1),
    };
  }

  async #write(spec: LeaseSpec, call: CallOptions): Promise<void> {
    const { client, lease } = this.#options;
    // An apply makes it, since RBAC can bind a right to create to a name only where the path has one. Empty, and the same by every
    // candidate: so it settles nothing, the PUT with its resourceVersion does.
    const before =
      this.#last ??
      (await client.apply<Lease>(LEASES, { metadata: { ...lease } }, { ...call, fieldManager: FIELD_MANAGER }));
    if (this.#last === undefined && before.spec?.holderIdentity) {
      throw new KubeError(`lease ${lease.name} was taken meanwhile`, { status: 409, reason: 'Conflict' });
    }
    // PUT with the resourceVersion we read: of two candidates only one gets through.
    this.#observe(await client.replace<Lease>(LEASES, { ...before, spec }, call));
  }

  async #refresh(call: CallOptions): Promise<void> {
    this.#observe(await find<Lease>(this.#options.client, LEASES, this.#options.lease, call));
  }

  /** A renewal counts from when we *saw* it: the holder's clock may be minutes off ours. */
  #observe(lease: Lease | undefined): void {
    const version = lease === undefined ? '' : `${lease.metadata.uid} ${lease.metadata.resourceVersion}`;
    if (version !== this.#version) this.#seenAt = this.#options.clock.monotonic();
    this.#version = version;
    this.#last = lease;
  }
}
