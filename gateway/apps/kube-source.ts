// SPDX-License-Identifier: Apache-2.0
import type { InferenceApp } from '#crds/inference-app.gen.ts';
import { createInformer } from '#kube/informer.ts';
import type { KubeDeps } from '#kube/informer.ts';
import { INFERENCE_APPS } from '#kube/resource.ts';
import type { AppSource, ServedApp } from './app-source.ts';
import { AppIndex, servedApp } from './served.ts';

export interface KubeAppSource extends AppSource {
  /** Resolves when the first listing is complete. */
  ready(signal: AbortSignal): Promise<void>;
  /** Why the watch does not work at the moment. */
  trouble(): Error | undefined;
}

/** Apps of all namespaces, by list and watch. One that cannot be read is left out and logged; the others are served. */
export function watchKubeApps(deps: KubeDeps): KubeAppSource {
  const informer = createInformer<InferenceApp>(deps, { resource: INFERENCE_APPS });
  const listeners = new Set<() => void>();
  const served = new Map<string, ServedApp>();
  let index = new AppIndex();
  let pending = false;

  const rebuild = (): void => {
    pending = false;
    index = new AppIndex([...served.values()]);
    for (const listener of listeners) listener();
  };
  const off = informer.cache.onChange((event) => {
    if (event.type === 'update' && isSame(event.object, event.previous)) return;
    if (event.type === 'delete') served.delete(event.key);
    else {
      try {
        served.set(event.key, servedApp(event.object));
      } catch (err) {
        deps.logger.error({ app: event.key, err }, 'the app cannot be read and is not served');
        served.delete(event.key);
      }
    }
    // A list brings thousands of changes in one turn; one rebuild serves them all.
    if (!pending) queueMicrotask(rebuild);
    pending = true;
  });
  informer.start();

  return {
    get: (namespace, name) => index.get(namespace, name),
    byUid: (uid) => index.byUid(uid),
    list: () => index.list(),
    onChange: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    synced: () => informer.cache.hasSynced(),
    ready: async (signal) => await informer.cache.synced(signal),
    trouble: () => informer.trouble(),
    close: async () => {
      off();
      await informer.stop();
    },
  };
}

/** Only the status differs, which the operator writes many times a minute: nothing that a request or a unit could notice. */
function isSame({ metadata: now }: InferenceApp, { metadata: before }: InferenceApp): boolean {
  return (
    now.uid === before.uid && now.generation === before.generation && now.deletionTimestamp === before.deletionTimestamp
  );
}
