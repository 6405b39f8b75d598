// SPDX-License-Identifier: Apache-2.0
import type { InferenceApp } from '#crds/inference-app.gen.ts';

/** An app as the gateway serves it. */
export interface ServedApp {
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  /** revisionOf(the app). */
  readonly revision: string;
  readonly spec: InferenceApp['spec'];
  /** It has a deletionTimestamp: nothing new is accepted. */
  readonly deleting: boolean;
}

/** Where the gateway learns apps from: a watch in a cluster, files in standalone. Reads are from memory. */
export interface AppSource {
  get(namespace: string, name: string): ServedApp | undefined;
  byUid(uid: string): ServedApp | undefined;
  list(): readonly ServedApp[];
  /** Called after each change of the set or of one app. Answers the way to stop. */
  onChange(listener: () => void): () => void;
  /** Whether the first listing is complete: before, an app that is not here may still exist. */
  synced(): boolean;
  close(): Promise<void>;
}
