// SPDX-License-Identifier: Apache-2.0
import type { InferenceApp } from '#crds/inference-app.gen.ts';
import { revisionOf } from '#crds/revision.ts';
import type { ServedApp } from './app-source.ts';

/** An app as it is served, from its manifest with defaults filled in and metadata.uid set. */
export function servedApp(app: InferenceApp): ServedApp {
  const { uid, namespace, name, deletionTimestamp } = app.metadata;
  if (uid === undefined || namespace === undefined) throw new TypeError(`app ${name} has no uid or namespace`);
  return { uid, namespace, name, revision: revisionOf(app), spec: app.spec, deleting: deletionTimestamp !== undefined };
}

/** Apps by what they are looked up by. Built anew on each change, read on every request. */
export class AppIndex {
  readonly #byUid: ReadonlyMap<string, ServedApp>;
  readonly #byName: ReadonlyMap<string, ServedApp>;

  constructor(apps: readonly ServedApp[] = []) {
    this.#byUid = new Map(apps.map((app) => [app.uid, app]));
    // Of two generations under one name the living one answers; the other is only being purged.
    const living = apps.toSorted((a, b) => Number(b.deleting) - Number(a.deleting));
    this.#byName = new Map(living.map((app) => [`${app.namespace}/${app.name}`, app]));
  }

  get(namespace: string, name: string): ServedApp | undefined {
    return this.#byName.get(`${namespace}/${name}`);
  }

  byUid(uid: string): ServedApp | undefined {
    return this.#byUid.get(uid);
  }

  list(): readonly ServedApp[] {
    return [...this.#byUid.values()];
  }
}
