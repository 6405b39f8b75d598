// SPDX-License-Identifier: Apache-2.0
import type { Placement } from '#crds/placement.gen.ts';
import { ANNOTATIONS, FIELD_MANAGER, LABELS } from '#crds/names.ts';
import type { Clock } from '#base/clock.ts';
import type { Logger } from '#base/logger.ts';
import { deleteExact, find } from '#kube/apply.ts';
import type { Cache } from '#kube/cache.ts';
import type { KubeClient } from '#kube/client.ts';
import { isAlreadyExists, isNotFound } from '#kube/errors.ts';
import { JOBS } from '#kube/resource.ts';
import { keyOf } from '#kube/types.ts';
import type { KubeObject } from '#kube/types.ts';
import { operatorError } from '../errors.ts';
import { unitJob } from './job.ts';
import type { JobSettings } from './job-settings.ts';
import type { Job, Pod } from './objects.ts';
import { isFinished, observeUnit, shorten } from './observe.ts';
import type { UnitDriver, UnitObservation, UnitPlan } from './unit-driver.ts';
import type { UnitSecrets } from './unit-secrets.ts';

/** A created Job that the cache has not shown for this long is looked up: created and deleted between two looks. */
const UNSEEN_MS = 10_000;
/** A refused Secret is tried again after this: what refuses it (a quota) changes without any change of Job or pod. */
const SECRET_RETRY_MS = 10_000;

export interface JobDriverDeps {
  readonly client: KubeClient;
  /** Unit Jobs, indexed by the app's uid. */
  readonly jobs: Cache<Job>;
  /** Their pods, indexed by unit. */
  readonly pods: Cache<Pod>;
  readonly secrets: UnitSecrets;
  readonly settings: JobSettings;
  readonly placement: (name: string) => Placement | undefined;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Index of the Jobs' cache: the app's uid. */
export function jobIndex(job: KubeObject): string[] {
  return [job.metadata.labels?.[LABELS.appUid] ?? ''];
}

/** Index of the pods' cache: the unit. */
export function podIndex(pod: KubeObject): string[] {
  return [pod.metadata.labels?.[LABELS.unit] ?? ''];
}

/** Units as Jobs of the cluster that holds the apps. */
export class JobDriver implements UnitDriver {
  readonly #deps: JobDriverDeps;
  /** Created by us, not yet seen in the cache: without them the next decision would create them again. */
  readonly #unseen = new Map<string, { readonly job: Job; readonly since: number }>();

  constructor(deps: JobDriverDeps) {
    this.#deps = deps;
    deps.jobs.onChange((event) => void this.#unseen.delete(event.key));
  }

  async observe(appUid: string, _namespace: string): Promise<readonly UnitObservation[]> {
    await this.#checkUnseen();
    const seen = this.#deps.jobs.byIndex(appUid);
    const fresh = [...this.#unseen.values()].map((entry) => entry.job).filter((job) => jobIndex(job)[0] === appUid);
    const jobs = [...seen, ...fresh];
    const observed: UnitObservation[] = [];
    for (const job of jobs) {
      const refusal = await this.#ensureSecret(job);
      const seenUnit = observeUnit(job, this.#podsOf(job));
      observed.push(refusal === undefined ? seenUnit : withoutSecret(seenUnit, refusal));
    }
    return observed;
  }

  async create(plan: UnitPlan): Promise<void> {
    const { client, placement, settings, secrets, clock } = this.#deps;
    const place = placement(plan.placement);
    if (place === undefined)
      throw operatorError('placement-gone', `placement ${plan.placement} does not exist any more`);
    const manifest = unitJob(plan, place, settings);
    const job = await this.#createOrFind(client, manifest);
    const key = keyOf(job.metadata);
    if (this.#deps.jobs.get(key) === undefined) this.#unseen.set(key, { job, since: clock.monotonic() });
    await secrets.ensure(job);
  }

  async markRetired(namespace: string, unit: string, reason?: string): Promise<void> {
    const { client, clock } = this.#deps;
    const annotations = {
      [ANNOTATIONS.retired]: new Date(clock.now()).toISOString(),
      ...(reason === undefined ? {} : { [ANNOTATIONS.retireReason]: reason }),
    };
    const options = { type: 'merge', fieldManager: FIELD_MANAGER } as const;
    try {
      await client.patch<Job>(JOBS, { namespace, name: unit }, { metadata: { annotations } }, options);
    } catch (err) {
      if (!isNotFound(err)) throw err;
    }
  }

  /**
   * Deletes the Job as it was just read, if it is over: any change in between (a pod that became ready) makes the API server
   * refuse. What was not over is left to the next decision.
   */
  async remove(namespace: string, unit: string): Promise<void> {
    const { client, secrets, logger } = this.#deps;
    const job = await find<Job>(client, JOBS, { namespace, name: unit });
    if (job !== undefined && !this.#isOver(job)) {
      logger.info({ namespace, unit }, 'unit is not over any more, its removal waits');
      return;
    }
    if (job !== undefined && (await deleteExact(client, JOBS, job)) === 'changed') return;
    await secrets.remove(namespace, unit, job?.metadata.uid);
  }

  onChange(listener: (appUid: string) => void): () => void {
    const tell = (object: KubeObject): void => {
      const uid = object.metadata.labels?.[LABELS.appUid];
      if (uid !== undefined) listener(uid);
    };
    const stops = [
      this.#deps.jobs.onChange((event) => tell('object' in event ? event.object : event.previous)),
      this.#deps.pods.onChange((event) => tell('object' in event ? event.object : event.previous)),
    ];
    return () => stops.forEach((stop) => stop());
  }

  async #createOrFind(client: KubeClient, manifest: Job): Promise<Job> {
    try {
      return await client.create<Job>(JOBS, manifest, { fieldManager: FIELD_MANAGER });
    } catch (err) {
      if (!isAlreadyExists(err)) throw err;
    }
    // Our own create whose answer was lost; names are unique, so anything else under this name is somebody else's.
    const job = await find<Job>(client, JOBS, manifest.metadata);
    if (job !== undefined && jobIndex(job)[0] === jobIndex(manifest)[0]) return job;
    throw operatorError('name-taken', `Job ${manifest.metadata.name} exists and belongs to something else`);
  }

  /** Why the Job's Secret can't be made. One refused Secret (quota, a terminating namespace) must not hide all other units. */
  async #ensureSecret(job: Job): Promise<string | undefined> {
    if (isFinished(job) || job.metadata.deletionTimestamp !== undefined) return undefined;
    const { namespace, name } = job.metadata;
    try {
      await this.#deps.secrets.ensure(job);
      return undefined;
    } catch (err) {
      this.#deps.logger.warn({ err, namespace, unit: name }, 'the Secret of a unit could not be made');
      return err instanceof Error ? err.message : String(err);
    }
  }

  /** Over = finished, or retired by the gateway with nothing ready, by the Job's status and by its pods. */
  #isOver(job: Job): boolean {
    if (isFinished(job)) return true;
    const { retired, ready } = observeUnit(job, this.#podsOf(job));
    return retired && ready === 0;
  }

  #podsOf(job: Job): readonly Pod[] {
    const { namespace, name } = job.metadata;
    return this.#deps.pods.byIndex(name).filter((pod) => pod.metadata.namespace === namespace);
  }

  async #checkUnseen(): Promise<void> {
    const { clock, client } = this.#deps;
    for (const [key, { job, since }] of this.#unseen) {
      if (clock.monotonic() - since < UNSEEN_MS) continue;
      const found = await find<Job>(client, JOBS, job.metadata);
      if (found === undefined || found.metadata.uid !== job.metadata.uid) this.#unseen.delete(key);
    }
  }
}

/** Until its Secret exists a pod waits for its volume, which its status does not say; a unit that runs lives on its old token. */
function withoutSecret(unit: UnitObservation, refusal: string): UnitObservation {
  const retry = { ...unit, retryAfterMs: SECRET_RETRY_MS };
  if (unit.phase !== 'Starting' || unit.trouble !== undefined) return retry;
  return { ...retry, trouble: 'Config', message: shorten(`its Secret could not be made: ${refusal}`) };
}
