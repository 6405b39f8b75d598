// SPDX-License-Identifier: Apache-2.0
import type { AppSource } from '#gateway/apps/app-source.ts';
import type { ObjectStore } from '#gateway/store/object-store.ts';
import type { Backend } from './backend.ts';
import type { History } from './history.ts';
import type { Caps } from './shares.ts';

/** What both layers show of a run, so that one checker judges them. */
export interface Scene {
  readonly backend: Pick<Backend, 'leftovers' | 'revive' | 'view'>;
  readonly history: Pick<History, 'all'>;
  readonly store: ObjectStore;
  readonly apps: AppSource;
  /** The queue's time. */
  readonly time: { readonly now: () => number };
  /** Of the tenants. */
  readonly caps: () => Caps;
  /** The app's current one. */
  readonly revision: string;
}
