// SPDX-License-Identifier: Apache-2.0
import type { Logger } from '#base/logger.ts';
import { deepFreeze } from './freeze.ts';
import type { KubeMetrics } from './kube-metrics.ts';
import { orAbort } from './or-abort.ts';
import { keyOf } from './types.ts';
import type { KubeObject } from './types.ts';

/** Something changed. Controllers use the key only and read the cache when they get to it; the objects are for filters. */
export type CacheEvent<T extends KubeObject> =
  | { readonly type: 'add'; readonly key: string; readonly object: T }
  | { readonly type: 'update'; readonly key: string; readonly object: T; readonly previous: T }
  | { readonly type: 'delete'; readonly key: string; readonly previous: T };

export type CacheListener<T extends KubeObject> = (event: CacheEvent<T>) => void;

/** Where a Reflector puts what it sees. */
export interface CacheSink<T extends KubeObject> {
  /** The whole truth as of one list: what is not in it is gone. */
  replace(objects: readonly T[]): void;
  put(object: T): void;
  remove(object: T): void;
}

/** Read side. Objects are deeply frozen (writing to one throws): `structuredClone` before changing anything. */
export interface Cache<T extends KubeObject> {
  get(key: string): T | undefined;
  list(): readonly T[];
  /** Objects for which the index function names `value`. */
  byIndex(value: string): readonly T[];
  /** True from the end of the first list on, for ever. */
  hasSynced(): boolean;
  /** Resolves when synced; rejects with the signal's reason. */
  synced(signal?: AbortSignal): Promise<void>;
  /** Changes from now on, plus an `add` for each object already there. Answers how to stop listening. */
  onChange(listener: CacheListener<T>): () => void;
}

export interface CacheOptions<T extends KubeObject> {
  /** Resource name for logs and metrics. */
  readonly name: string;
  /** Index values of an object (an owner's uid, a label's value); default none. */
  readonly index?: (object: T) => readonly string[];
  readonly logger: Logger;
  readonly metrics: KubeMetrics;
}

export class ObjectCache<T extends KubeObject> implements Cache<T>, CacheSink<T> {
  readonly #options: CacheOptions<T>;
  readonly #objects = new Map<string, T>();
  readonly #index = new Map<string, Set<string>>();
  readonly #listeners = new Set<CacheListener<T>>();
  readonly #ready = Promise.withResolvers<void>();
  #synced = false;

  constructor(options: CacheOptions<T>) {
    this.#options = options;
    options.metrics.listenerErrors.inc({ resource: options.name }, 0);
  }

  get(key: string): T | undefined {
    return this.#objects.get(key);
  }

  list(): readonly T[] {
    return [...this.#objects.values()];
  }

  byIndex(value: string): readonly T[] {
    return [...(this.#index.get(value) ?? [])].flatMap((key) => this.#objects.get(key) ?? []);
  }

  hasSynced(): boolean {
    return this.#synced;
  }

  synced(signal?: AbortSignal): Promise<void> {
    return signal ? orAbort(this.#ready.promise, signal) : this.#ready.promise;
  }

  onChange(listener: CacheListener<T>): () => void {
    this.#listeners.add(listener);
    for (const [key, object] of this.#objects) this.#tell(listener, { type: 'add', key, object });
    return () => void this.#listeners.delete(listener);
  }

  replace(objects: readonly T[]): void {
    const present = new Set(objects.map((object) => keyOf(object.metadata)));
    // Deletes that happened while nobody watched: nothing else will ever report them.
    for (const [key, previous] of this.#objects) if (!present.has(key)) this.#delete(key, previous);
    for (const object of objects) this.put(object);
    if (this.#synced) return;
    this.#synced = true;
    this.#ready.resolve();
  }

  put(object: T): void {
    const key = keyOf(object.metadata);
    const previous = this.#objects.get(key);
    if (previous && previous.metadata.uid !== object.metadata.uid) {
      // Deleted and made anew under the same name, the delete unseen: two objects, not one that changed.
      this.#delete(key, previous);
      return this.#store(key, object, undefined);
    }
    // A list after a watch, or a watch resumed from a bookmark, shows what is already known.
    if (previous && previous.metadata.resourceVersion === object.metadata.resourceVersion) return;
    this.#store(key, object, previous);
  }

  remove(object: T): void {
    const key = keyOf(object.metadata);
    const previous = this.#objects.get(key);
    if (previous && previous.metadata.uid === object.metadata.uid) this.#delete(key, deepFreeze(object));
  }

  #store(key: string, object: T, previous: T | undefined): void {
    deepFreeze(object);
    if (previous) this.#unindex(key, previous);
    this.#objects.set(key, object);
    for (const value of this.#indexValues(object)) this.#bucket(value).add(key);
    this.#notify(previous ? { type: 'update', key, object, previous } : { type: 'add', key, object });
  }

  #delete(key: string, last: T): void {
    const stored = this.#objects.get(key);
    if (stored) this.#unindex(key, stored);
    this.#objects.delete(key);
    this.#notify({ type: 'delete', key, previous: last });
  }

  #notify(event: CacheEvent<T>): void {
    this.#options.metrics.cacheObjects.set({ resource: this.#options.name }, this.#objects.size);
    for (const listener of this.#listeners) this.#tell(listener, event);
  }

  /** A listener's error is its own: neither the reflector nor the other listeners may suffer from it. */
  #tell(listener: CacheListener<T>, event: CacheEvent<T>): void {
    try {
      listener(event);
    } catch (err) {
      this.#options.metrics.listenerErrors.inc({ resource: this.#options.name });
      this.#options.logger.error({ resource: this.#options.name, key: event.key, err }, 'a cache listener threw');
    }
  }

  #indexValues(object: T): readonly string[] {
    try {
      return this.#options.index?.(object) ?? [];
    } catch (err) {
      this.#options.logger.error(
        { resource: this.#options.name, key: keyOf(object.metadata), err },
        'the index function threw',
      );
      return [];
    }
  }

  #bucket(value: string): Set<string> {
    const known = this.#index.get(value);
    if (known) return known;
    const bucket = new Set<string>();
    this.#index.set(value, bucket);
    return bucket;
  }

  #unindex(key: string, object: T): void {
    for (const value of this.#indexValues(object)) {
      const bucket = this.#index.get(value);
      bucket?.delete(key);
      if (bucket?.size === 0) this.#index.delete(value);
    }
  }
}
