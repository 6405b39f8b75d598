// SPDX-License-Identifier: Apache-2.0
// The only file that knows @dot-i/k8s-operator. It gives the shape of the process (start, init, watchResource, stop), the event types
// and the finalizer's logic. Watching, writing and retrying are lib/kube's: version 1.3.9 exits the process when a watch is quiet for
// 30 s or a connection is reset, and builds no valid URL with client-node 2 (docs/adr).
import dotI, { ResourceEventType, ResourceMetaImpl } from '@dot-i/k8s-operator';
import type { OperatorLogger, ResourceEvent, ResourceMeta } from '@dot-i/k8s-operator';
import type { KubeConfig } from '@kubernetes/client-node';
import { FIELD_MANAGER } from '#crds/names.ts';
import type { Logger } from '#base/logger.ts';
import type { KubeClient } from '#kube/client.ts';
import type { CacheEvent } from '#kube/cache.ts';
import type { Informer } from '#kube/informer.ts';
import { apiVersionOf } from '#kube/resource.ts';
import type { Resource } from '#kube/resource.ts';
import type { KubeObject } from '#kube/types.ts';

export interface WatchedResource {
  readonly resource: Resource;
  readonly informer: Informer<KubeObject>;
  /** Called with the key of each object that was added, changed or deleted; also for all that exist at the start. */
  readonly onEvent: (event: ResourceEvent) => void;
}

export interface OperatorProcessOptions {
  readonly kubeConfig: KubeConfig;
  readonly client: KubeClient;
  readonly logger: Logger;
  readonly watched: readonly WatchedResource[];
}

/** Node gives a CommonJS package's `exports` as its default export; tools with the older interop (vitest) give `exports.default`. */
const Operator = (dotI as Partial<typeof dotI>).default ?? (dotI as unknown as typeof dotI.default);

/** The operator as a `@dot-i/k8s-operator` process: its resources are watched from `start` to `stop`. */
export class OperatorProcess extends Operator {
  readonly #options: OperatorProcessOptions;
  readonly #byId = new Map<string, WatchedResource>();
  readonly #stops: (() => void)[] = [];
  #stopped: Promise<void> = Promise.resolve();

  constructor(options: OperatorProcessOptions) {
    super(toOperatorLogger(options.logger));
    this.#options = options;
    // The base class reads the default kubeconfig by itself, unpooled.
    this.kubeConfig = options.kubeConfig;
    for (const watched of options.watched) this.#byId.set(idOf(watched.resource), watched);
  }

  /** Watches what the process was made with. Resolves at once; whoever needs the caches waits for `synced`. */
  protected override async init(): Promise<void> {
    for (const { resource, onEvent } of this.#options.watched) {
      const { group, version, plural } = resource;
      // oxlint-disable-next-line typescript/require-await -- the base class asks for an asynchronous callback
      await this.watchResource(group, version, plural, async (event) => onEvent(event));
    }
  }

  protected override async watchResource(
    group: string,
    version: string,
    plural: string,
    onEvent: (event: ResourceEvent) => Promise<void>,
  ): Promise<void> {
    const watched = this.#byId.get(`${plural}.${group === '' ? version : `${group}/${version}`}`);
    if (watched === undefined) throw new TypeError(`${plural}.${group} is none of the resources of this process`);
    const { informer, resource } = watched;
    const stop = informer.cache.onChange((change) => {
      onEvent(toEvent(resource, change)).catch((err: unknown) => {
        this.#options.logger.error({ err, resource: plural }, 'event could not be handed on');
      });
    });
    this.#stops.push(stop, () => void informer.stop());
    informer.start();
  }

  /** Ends the watches; `stopped` resolves when they have ended. */
  override stop(): void {
    for (const stop of this.#stops.splice(0)) stop();
    this.#stopped = Promise.all(this.#options.watched.map(({ informer }) => informer.stop())).then(() => {});
  }

  stopped(): Promise<void> {
    return this.#stopped;
  }

  /** Every watched resource has been listed once. */
  async synced(signal?: AbortSignal): Promise<void> {
    await Promise.all(this.#options.watched.map(({ informer }) => informer.cache.synced(signal)));
  }

  /**
   * Adds the finalizer to a living object, or runs `onDelete` for one that is being deleted and then removes it.
   * True: nothing else is to be done with the object now. `onDelete` throws to keep the finalizer.
   */
  async withFinalizer(
    resource: Resource,
    object: KubeObject,
    finalizer: string,
    onDelete: () => Promise<void>,
  ): Promise<boolean> {
    // A clone: the base class writes into the list of finalizers, and cached objects are frozen.
    const event = toEvent(resource, { type: 'add', key: '', object: structuredClone(object) });
    return this.handleResourceFinalizer(event, finalizer, onDelete);
  }

  /** The resourceVersion makes a list that somebody else has changed meanwhile a 409, so that nobody's finalizer is lost. */
  protected override async setResourceFinalizers(meta: ResourceMeta, finalizers: string[]): Promise<void> {
    const watched = this.#byId.get(meta.id);
    if (watched === undefined) throw new TypeError(`${meta.id} is none of the resources of this process`);
    const { name, namespace, resourceVersion } = meta;
    const patch = { metadata: { resourceVersion, finalizers } };
    const options = { type: 'merge', fieldManager: FIELD_MANAGER } as const;
    await this.#options.client.patch(watched.resource, { name, namespace }, patch, options);
  }

  /** Statuses go out by server-side apply and only on change; the base class would write them with a stale resourceVersion. */
  protected override async setResourceStatus(): Promise<ResourceMeta | null> {
    throw new TypeError('statuses are written by server-side apply');
  }

  protected override async patchResourceStatus(): Promise<ResourceMeta | null> {
    throw new TypeError('statuses are written by server-side apply');
  }

  /** CRDs are installed by kubectl: an operator that may write CRDs may rewrite every schema of the cluster. */
  protected override registerCustomResourceDefinition(): never {
    throw new TypeError('custom resource definitions are installed by kubectl');
  }
}

function idOf(resource: Resource): string {
  return `${resource.plural}.${apiVersionOf(resource)}`;
}

function toEvent(resource: Resource, change: CacheEvent<KubeObject>): ResourceEvent {
  const object = change.type === 'delete' ? change.previous : change.object;
  const types = {
    add: ResourceEventType.Added,
    update: ResourceEventType.Modified,
    delete: ResourceEventType.Deleted,
  } as const;
  // client-node types times as Date; ours are raw JSON, and nothing here reads one.
  const known = object as unknown as ResourceEvent['object'];
  return { meta: ResourceMetaImpl.createWithPlural(resource.plural, known), type: types[change.type], object: known };
}

function toOperatorLogger(logger: Logger): OperatorLogger {
  return {
    debug: (message) => logger.debug({}, message),
    info: (message) => logger.info({}, message),
    warn: (message) => logger.warn({}, message),
    error: (message) => logger.error({}, message),
  };
}
