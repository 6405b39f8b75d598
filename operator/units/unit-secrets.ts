// SPDX-License-Identifier: Apache-2.0
import { LABELS } from '#crds/names.ts';
import type { Clock } from '#base/clock.ts';
import type { Signer } from '#base/issuer.ts';
import { OPERATOR_ISSUER, UNIT_AUDIENCE, UNIT_TOKEN_SECONDS } from '#base/wire/claims.ts';
import type { UnitClaims } from '#base/wire/claims.ts';
import type { KubeClient } from '#kube/client.ts';
import { isAlreadyExists, isNotFound } from '#kube/errors.ts';
import { SECRETS } from '#kube/resource.ts';
import { unitSecret } from './job.ts';
import type { Job } from './objects.ts';

/** A unit that lives this long gets a new token, so that one of a floor that never goes idle is never refused. */
const RENEW_AFTER_MS = (UNIT_TOKEN_SECONDS * 1000) / 2;
/** Jobs whose Secret this process vouches for; beyond it, the oldest entries cost one refused create each. */
const MAX_KNOWN = 10_000;

export interface UnitSecretsDeps {
  readonly client: KubeClient;
  /** The operator's current key. */
  readonly signer: () => Promise<Signer>;
  readonly clock: Clock;
}

/**
 * The Secrets with unit tokens. The operator may create and delete Secrets but neither read nor list them, so it tries: a Secret
 * that exists already is as good as a new one.
 */
export class UnitSecrets {
  readonly #deps: UnitSecretsDeps;
  /** uid of the Job → when its Secret was last made or found (Unix ms). */
  readonly #known = new Map<string, number>();

  constructor(deps: UnitSecretsDeps) {
    this.#deps = deps;
  }

  /**
   * Makes the Job's Secret unless this process has seen to it already. A crash between creating the Job and its Secret leaves a pod
   * that waits for its volume; the next process finds it here.
   */
  async ensure(job: Job): Promise<void> {
    const uid = job.metadata.uid ?? '';
    const now = this.#deps.clock.now();
    const made = this.#known.get(uid);
    const born = Date.parse(job.metadata.creationTimestamp ?? '') || now;
    if (made !== undefined && now - made < RENEW_AFTER_MS) return;
    if (now - (made ?? born) >= RENEW_AFTER_MS) await this.#delete(job);
    await this.#create(job);
    this.#known.set(uid, now);
    const oldest = this.#known.keys().next().value;
    if (this.#known.size > MAX_KNOWN && oldest !== undefined) this.#known.delete(oldest);
  }

  /** Its Job owns it, but garbage collection may take its time and a token should not outlive its unit. */
  async remove(namespace: string, unit: string, jobUid?: string): Promise<void> {
    if (jobUid !== undefined) this.#known.delete(jobUid);
    await ignoreNotFound(this.#deps.client.delete(SECRETS, { namespace, name: unit }));
  }

  async #delete(job: Job): Promise<void> {
    await this.remove(job.metadata.namespace ?? '', job.metadata.name);
  }

  async #create(job: Job): Promise<void> {
    const signer = await this.#deps.signer();
    const token = await signer.sign({ ...claimsOf(job) }, UNIT_TOKEN_SECONDS);
    try {
      await this.#deps.client.create(SECRETS, unitSecret(job, token));
    } catch (err) {
      if (!isAlreadyExists(err)) throw err;
    }
  }
}

function claimsOf(job: Job): Omit<UnitClaims, 'exp'> {
  const { name, namespace = '', labels = {} } = job.metadata;
  return {
    iss: OPERATOR_ISSUER,
    aud: UNIT_AUDIENCE,
    sub: name,
    app_uid: labels[LABELS.appUid] ?? '',
    namespace,
    app: labels[LABELS.app] ?? '',
    revision: labels[LABELS.revision] ?? '',
    placement: labels[LABELS.placement] ?? '',
  };
}

async function ignoreNotFound(call: Promise<void>): Promise<void> {
  try {
    await call;
  } catch (err) {
    if (!isNotFound(err)) throw err;
  }
}
