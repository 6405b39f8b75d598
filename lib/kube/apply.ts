// SPDX-License-Identifier: Apache-2.0
import type { Json } from '#base/json.ts';
import type { KubeClient } from './client.ts';
import { isConflict, isNotFound } from './errors.ts';
import { ownsExactly } from './managed-fields.ts';
import type { Resource } from './resource.ts';
import type { CallOptions } from './transport.ts';
import type { KubeObject, ObjectRef } from './types.ts';

/** Attempts of a read-modify-write that others may get ahead of; a conflict that lasts this long is a fight, not a race. */
const MAX_CONFLICTS = 5;

/**
 * Applies `status` unless the server already holds exactly it: at rest nothing is written, so nothing wakes the watchers.
 * "Exactly" = every field of `status` is owned by `fieldManager` with that value, and it owns no other (managedFields).
 * No resourceVersion goes along: a stale cache would turn every second write into a conflict, and whatever a late write gets
 * wrong (even on a successor of the same name; the server checks no uid here) the next reconcile of the same key puts right.
 * @param observed the object as last seen (cache)
 * @returns whether a call was made
 */
export async function applyStatusIfChanged(
  client: KubeClient,
  resource: Resource,
  observed: KubeObject,
  status: object,
  fieldManager: string,
  options: CallOptions = {},
): Promise<boolean> {
  if (ownsExactly(observed, 'status', status as Json, fieldManager)) return false;
  const { name, namespace } = observed.metadata;
  const metadata = { name, ...(namespace === undefined ? {} : { namespace }) };
  const body = { metadata, status } as KubeObject;
  await client.applyStatus(resource, body, { ...options, fieldManager });
  return true;
}

/** Adds `finalizer` unless it is there. @returns the object as it is now */
export async function addFinalizer<T extends KubeObject>(
  client: KubeClient,
  resource: Resource,
  observed: T,
  finalizer: string,
  options: CallOptions = {},
): Promise<T> {
  const change = (present: readonly string[]): readonly string[] => [...present, finalizer];
  return editFinalizers(client, resource, observed, { wanted: (f) => f.includes(finalizer), change }, options);
}

/** Removes `finalizer` and nothing else. @returns the object as it is now, or undefined when it is gone */
export async function removeFinalizer<T extends KubeObject>(
  client: KubeClient,
  resource: Resource,
  observed: T,
  finalizer: string,
  options: CallOptions = {},
): Promise<T | undefined> {
  const change = (present: readonly string[]): readonly string[] => present.filter((other) => other !== finalizer);
  try {
    return await editFinalizers(client, resource, observed, { wanted: (f) => !f.includes(finalizer), change }, options);
  } catch (err) {
    if (isNotFound(err)) return undefined;
    throw err;
  }
}

interface FinalizerEdit {
  wanted(present: readonly string[]): boolean;
  change(present: readonly string[]): readonly string[];
}

/**
 * A merge patch replaces the whole list, so it names the resourceVersion that the list was read at: if anybody wrote in
 * between, the server answers 409 and we read again. Another controller's finalizer is never lost.
 */
async function editFinalizers<T extends KubeObject>(
  client: KubeClient,
  resource: Resource,
  observed: T,
  edit: FinalizerEdit,
  options: CallOptions,
): Promise<T> {
  let current = observed;
  for (let attempt = 1; ; attempt++) {
    const present = current.metadata.finalizers ?? [];
    if (edit.wanted(present)) return current;
    const { uid, resourceVersion } = current.metadata;
    const patch = { metadata: { uid, resourceVersion, finalizers: edit.change(present) } };
    try {
      return await client.patch<T>(resource, current.metadata, patch, { ...options, type: 'merge' });
    } catch (err) {
      if (!isConflict(err) || attempt >= MAX_CONFLICTS) throw err;
      const next = await client.get<T>(resource, current.metadata, options);
      // The object we meant is gone; its successor's finalizers are not our business.
      if (next.metadata.uid !== observed.metadata.uid) throw err;
      current = next;
    }
  }
}

export interface DeleteExactOptions extends CallOptions {
  /** Default Background: dependants go after the object. */
  readonly propagationPolicy?: 'Background' | 'Foreground' | 'Orphan';
  readonly gracePeriodSeconds?: number;
  /** Delete also when it changed since it was read, as long as it is the same object (default false). */
  readonly evenIfChanged?: boolean;
}

/**
 * Deletes the object that was read, not whatever has its name by now.
 * @returns 'deleted' (asked for), 'gone' (was not there any more), 'changed' (somebody wrote since it was read: decide again)
 */
export async function deleteExact(
  client: KubeClient,
  resource: Resource,
  observed: KubeObject,
  options: DeleteExactOptions = {},
): Promise<'deleted' | 'gone' | 'changed'> {
  const { propagationPolicy = 'Background', evenIfChanged = false, ...rest } = options;
  const { uid, resourceVersion } = observed.metadata;
  const preconditions = evenIfChanged ? { uid } : { uid, resourceVersion };
  try {
    await client.delete(resource, observed.metadata, { ...rest, propagationPolicy, preconditions });
    return 'deleted';
  } catch (err) {
    if (isNotFound(err)) return 'gone';
    if (isConflict(err)) return 'changed';
    throw err;
  }
}

/** The object, or undefined when there is none. */
export async function find<T extends KubeObject>(
  client: KubeClient,
  resource: Resource,
  ref: ObjectRef,
  options: CallOptions = {},
): Promise<T | undefined> {
  try {
    return await client.get<T>(resource, ref, options);
  } catch (err) {
    if (isNotFound(err)) return undefined;
    throw err;
  }
}
