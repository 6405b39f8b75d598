// SPDX-License-Identifier: Apache-2.0
import type { Logger } from '#base/logger.ts';
import { counter, gauge } from '#base/metrics.ts';
import type { Counter, Gauge, Registry } from '#base/metrics.ts';
import type { Cache } from '#kube/cache.ts';
import type { EventRecorder } from '#kube/events.ts';
import type { KubeObject } from '#kube/types.ts';

export interface ConfigMapObject extends KubeObject {
  readonly data?: Readonly<Record<string, string>>;
}

/** What is known of a document. `unknown`: nobody has looked yet, or all that was ever there does not fit. */
export type Known<T> =
  | { readonly state: 'unknown'; readonly why: string }
  | { readonly state: 'absent' }
  | { readonly state: 'known'; readonly value: T };

export interface HotDocumentOptions<T> {
  /** Holds the one ConfigMap, or nothing. */
  readonly configMaps: Cache<ConfigMapObject>;
  /** Its name, and the key of the document in it. */
  readonly configMap: string;
  readonly key: string;
  /** Undefined: the document is empty. @throws Error that names field and fix */
  readonly parse: (text: string) => T | undefined;
  readonly events: Pick<EventRecorder, 'record'>;
  readonly logger: Logger;
  readonly metrics: DocumentMetrics;
}

export interface HotDocument<T> {
  current(): Known<T>;
  stop(): void;
}

export interface DocumentMetrics {
  readonly reloads: Counter<'document' | 'result'>;
  readonly good: Gauge<'document'>;
}

export function createDocumentMetrics(registry: Registry, documents: readonly string[]): DocumentMetrics {
  const results = ['loaded', 'refused', 'removed'];
  const reloads = counter(
    registry,
    'penstock_webhook_document_reloads_total',
    'Documents that the checks of apps go by, by what became of them',
    ['document', 'result'],
    documents.flatMap((document) => results.map((result) => ({ document, result }))),
  );
  const good = gauge(
    registry,
    'penstock_webhook_document_last_reload_success',
    '0 while the document in the ConfigMap is not the one in force',
    ['document'],
  );
  for (const document of documents) good.set({ document }, 1);
  return { reloads, good };
}

const NO_KEY = 'the ConfigMap has no such key; put the document under it, or delete the ConfigMap';

/**
 * A document in a ConfigMap, read anew whenever it changes. One that does not fit leaves the last good one in force; where there is
 * none, nothing is known: a list of what is allowed that cannot be read does not allow everything. Nor does one whose key was renamed: who
 * wants none empties it, or deletes the ConfigMap.
 */
export function createHotDocument<T>(options: HotDocumentOptions<T>): HotDocument<T> {
  const { configMaps, configMap, key, parse, events, logger, metrics } = options;
  let known: Known<T> = { state: 'absent' };
  /** Of the last look: metadata changes without it. `null`: there was none in the ConfigMap. */
  let seen: string | null | undefined;
  let refused = false;

  const record = (regarding: KubeObject, type: 'Normal' | 'Warning', reason: string, note: string): void =>
    events.record({ regarding, type, reason, action: 'Load', note });
  /** What held bounds everybody: who lifts them unawares should read it where he looks. */
  const lifted = (object: KubeObject, reason: string, how: string): void => {
    if (known.state === 'known') record(object, 'Warning', reason, `${key} ${how}: it asks nothing of apps any more`);
  };
  const accept = (object: KubeObject, value: T | undefined): void => {
    if (value === undefined) lifted(object, 'DocumentEmpty', 'is empty');
    known = value === undefined ? { state: 'absent' } : { state: 'known', value };
    metrics.reloads.inc({ document: key, result: 'loaded' });
    metrics.good.set({ document: key }, 1);
    const became = value === undefined ? 'document is empty: it asks nothing of apps' : 'document in force';
    logger.info({ configMap, key, resourceVersion: object.metadata.resourceVersion }, became);
    if (refused) record(object, 'Normal', 'DocumentAccepted', `${key} fits again and is in force`);
    refused = false;
  };
  const refuse = (object: KubeObject, err: Error): void => {
    refused = true;
    if (known.state === 'absent') known = { state: 'unknown', why: `${key} in ConfigMap ${configMap} cannot be read` };
    const stays =
      known.state === 'known' ? 'the last good one stays in force' : 'nothing is allowed that depends on it';
    metrics.reloads.inc({ document: key, result: 'refused' });
    metrics.good.set({ document: key }, 0);
    logger.error({ configMap, key, problem: err.message }, `document refused; ${stays}`);
    record(object, 'Warning', 'DocumentRefused', `${key}: ${err.message}; ${stays}`);
  };
  const forget = (object: KubeObject): void => {
    lifted(object, 'DocumentRemoved', 'was removed');
    seen = undefined;
    refused = false;
    metrics.good.set({ document: key }, 1);
    if (known.state === 'absent') return;
    known = { state: 'absent' };
    metrics.reloads.inc({ document: key, result: 'removed' });
    logger.info({ configMap, key }, 'document removed: it asks nothing of apps any more');
  };
  const stop = configMaps.onChange((event) => {
    if (event.type === 'delete') return forget(event.previous);
    const text = event.object.data?.[key] ?? null;
    if (text === seen) return undefined;
    seen = text;
    try {
      if (text === null) throw new Error(NO_KEY);
      return accept(event.object, parse(text));
    } catch (err) {
      return refuse(event.object, err instanceof Error ? err : new Error(String(err)));
    }
  });
  return {
    current: () =>
      configMaps.hasSynced() ? known : { state: 'unknown', why: `ConfigMap ${configMap} has not been looked for yet` },
    stop,
  };
}
