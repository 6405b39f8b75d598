// SPDX-License-Identifier: Apache-2.0
import { OBJECTS } from '#crds/names.ts';
import type { Placement } from '#crds/placement.gen.ts';
import type { Registry } from '#base/metrics.ts';
import { readTenants } from '#base/tenants.ts';
import type { Cache } from '#kube/cache.ts';
import type { EventRecorder } from '#kube/events.ts';
import { createInformer } from '#kube/informer.ts';
import type { Informer, KubeDeps } from '#kube/informer.ts';
import { CONFIG_MAPS } from '#kube/resource.ts';
import type { AdmissionHandler } from '../admission/types.ts';
import type { Inventory } from '../slice/inventory.ts';
import { createPodCreators } from './access.ts';
import { createDocumentMetrics, createHotDocument } from './hot-document.ts';
import type { ConfigMapObject, DocumentMetrics, HotDocument } from './hot-document.ts';
import { readImages } from './images.ts';
import { validateInferenceApps } from './inference-apps.ts';
import { createJobDryRun } from './job-dry-run.ts';
import { createPlacementLookUp } from './placement-look-up.ts';
import { validatePlacements } from './placements.ts';

const IMAGES_KEY = 'images.yaml';
const TENANTS_KEY = 'tenants.yaml';

export interface ValidationDeps extends KubeDeps {
  readonly placements: Cache<Placement>;
  readonly inventory: () => Inventory;
  /** Undefined: not known. */
  readonly namespaceExists: (name: string) => boolean | undefined;
  readonly events: Pick<EventRecorder, 'record'>;
  readonly registry: Registry;
  /** Where the ConfigMaps are. */
  readonly namespace: string;
}

/** The checks of Penstock's own objects, with the documents that they go by. */
export interface Validation {
  readonly validateInferenceApps: AdmissionHandler;
  readonly validatePlacements: AdmissionHandler;
  start(): void;
  stop(): Promise<void>;
  /** The documents have been looked for; before that, apps are refused with 503. */
  synced(): boolean;
}

export function createValidation(deps: ValidationDeps): Validation {
  const metrics = createDocumentMetrics(deps.registry, [IMAGES_KEY, TENANTS_KEY]);
  const images = watched(deps, metrics, OBJECTS.admissionConfigMap, IMAGES_KEY, readImages);
  const tenants = watched(deps, metrics, OBJECTS.tenantsConfigMap, TENANTS_KEY, readTenants);
  const informers = [images.informer, tenants.informer];
  return {
    validateInferenceApps: validateInferenceApps({
      placements: deps.placements,
      lookUp: createPlacementLookUp(deps.client, deps.placements),
      images: () => images.document.current(),
      tenants: () => tenants.document.current(),
      creators: createPodCreators(deps.client, deps.clock),
      dryRun: createJobDryRun(deps.client),
    }),
    validatePlacements: validatePlacements(deps),
    start: () => informers.forEach((informer) => informer.start()),
    stop: async () => {
      images.document.stop();
      tenants.document.stop();
      await Promise.all(informers.map((informer) => informer.stop()));
    },
    synced: () => informers.every(({ cache }) => cache.hasSynced()),
  };
}

interface Watched<T> {
  readonly informer: Informer<ConfigMapObject>;
  readonly document: HotDocument<T>;
}

function watched<T>(
  deps: ValidationDeps,
  metrics: DocumentMetrics,
  configMap: string,
  key: string,
  parse: (text: string) => T | undefined,
): Watched<T> {
  const informer = createInformer<ConfigMapObject>(deps, {
    resource: CONFIG_MAPS,
    namespace: deps.namespace,
    fieldSelector: `metadata.name=${configMap}`,
  });
  const { events, logger } = deps;
  const document = createHotDocument({ configMaps: informer.cache, configMap, key, parse, events, logger, metrics });
  return { informer, document };
}
