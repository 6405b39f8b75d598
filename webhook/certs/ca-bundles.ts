// SPDX-License-Identifier: Apache-2.0
import type { X509Certificate } from 'node:crypto';
import { OBJECTS } from '#crds/names.ts';
import type { Clock } from '#base/clock.ts';
import { createInformer } from '#kube/informer.ts';
import type { Informer, KubeDeps } from '#kube/informer.ts';
import type { KubeClient } from '#kube/client.ts';
import type { Resource } from '#kube/resource.ts';
import type { KubeObject } from '#kube/types.ts';
import { FIELD_MANAGER } from './secret.ts';
import { certificatesOf, distinct } from './trust.ts';

/** The configurations whose caBundles are ours, by name: RBAC lets no other be written. */
const CONFIGURATIONS = [
  { kind: 'MutatingWebhookConfiguration', plural: 'mutatingwebhookconfigurations', name: OBJECTS.podsWebhook },
  { kind: 'ValidatingWebhookConfiguration', plural: 'validatingwebhookconfigurations', name: OBJECTS.objectsWebhook },
] as const;

export interface WebhookConfiguration extends KubeObject {
  readonly webhooks?: readonly { readonly clientConfig?: { readonly caBundle?: string } }[];
}

/** What the API server trusts, as this replica sees it. */
export interface CaBundles {
  start(): void;
  stop(): Promise<void>;
  hasSynced(): boolean;
  /** Why a configuration cannot be read, while that is so. */
  trouble(): Error | undefined;
  /** CAs of all bundles. */
  authorities(): X509Certificate[];
  /** Milliseconds for which every bundle has been seen to hold the CA; undefined when one does not. Infinity: nobody calls at all. */
  trustedForMs(authority: X509Certificate): number | undefined;
  /**
   * Takes a picture; called with a bundle it writes it wherever the picture showed another one. A configuration that has changed since
   * is refused by the API server (409), so whoever reads what the bundle is to be *after* the picture can never write an older one.
   */
  picture(): (bundle: string, signal: AbortSignal) => Promise<readonly WebhookConfiguration[]>;
}

export function createCaBundles(deps: KubeDeps, onChange: () => void): CaBundles {
  return new WatchedBundles(deps, onChange);
}

interface Watched {
  readonly resource: Resource;
  readonly name: string;
  readonly informer: Informer<WebhookConfiguration>;
}

class WatchedBundles implements CaBundles {
  readonly #client: KubeClient;
  readonly #clock: Clock;
  readonly #watched: readonly Watched[];
  /** Fingerprint of each CA that all bundles hold → since when, on the monotonic clock. */
  #since = new Map<string, number>();

  readonly #changed: () => void;

  constructor(deps: KubeDeps, onChange: () => void) {
    this.#changed = () => {
      this.#look();
      onChange();
    };
    this.#client = deps.client;
    this.#clock = deps.clock;
    this.#watched = CONFIGURATIONS.map(({ kind, plural, name }) => {
      const resource = { group: 'admissionregistration.k8s.io', version: 'v1', kind, plural, namespaced: false };
      const fieldSelector = `metadata.name=${name}`;
      return { resource, name, informer: createInformer<WebhookConfiguration>(deps, { resource, fieldSelector }) };
    });
    for (const { informer } of this.#watched) {
      informer.cache.onChange(this.#changed);
    }
  }

  start(): void {
    for (const { informer } of this.#watched) {
      informer.start();
      // A configuration that does not exist makes no event, only a list that has been read.
      void informer.cache.synced().then(this.#changed);
    }
  }

  async stop(): Promise<void> {
    await Promise.all(this.#watched.map(({ informer }) => informer.stop()));
  }

  hasSynced(): boolean {
    return this.#watched.every(({ informer }) => informer.cache.hasSynced());
  }

  trouble(): Error | undefined {
    return this.#watched.map(({ informer }) => informer.trouble()).find((trouble) => trouble !== undefined);
  }

  authorities(): X509Certificate[] {
    return distinct(this.#bundles().flatMap(certificatesIn)).filter(({ ca }) => ca);
  }

  trustedForMs(authority: X509Certificate): number | undefined {
    if (!this.hasSynced()) return undefined;
    if (this.#bundles().length === 0) return Infinity;
    const since = this.#since.get(authority.fingerprint256);
    return since === undefined ? undefined : this.#clock.monotonic() - since;
  }

  picture(): (bundle: string, signal: AbortSignal) => Promise<readonly WebhookConfiguration[]> {
    const seen = this.#watched.flatMap(({ resource, name, informer }) => {
      const object = informer.cache.get(name);
      return object === undefined ? [] : [{ resource, object }];
    });
    return async (bundle, signal) => {
      const caBundle = Buffer.from(bundle).toString('base64');
      const written: WebhookConfiguration[] = [];
      for (const { resource, object } of seen) {
        const patch = patchOf(object, caBundle);
        if (patch.length === 0) continue;
        written.push(
          await this.#client.patch(resource, object.metadata, patch, {
            type: 'json',
            fieldManager: FIELD_MANAGER,
            signal,
          }),
        );
      }
      return written;
    };
  }

  #bundles(): string[] {
    return this.#watched.flatMap(({ name, informer }) => bundlesOf(informer.cache.get(name)));
  }

  #look(): void {
    const sets = this.#bundles().map((bundle) => new Set(certificatesIn(bundle).map((one) => one.fingerprint256)));
    const common = [...(sets[0] ?? [])].filter((fingerprint) => sets.every((set) => set.has(fingerprint)));
    const now = this.#clock.monotonic();
    this.#since = new Map(common.map((fingerprint) => [fingerprint, this.#since.get(fingerprint) ?? now]));
  }
}

/** caBundle of each webhook; '' where there is none. Objects of the API server, so only what it validates is relied on. */
function bundlesOf(configuration: WebhookConfiguration | undefined): string[] {
  return (configuration?.webhooks ?? []).map(({ clientConfig }) => clientConfig?.caBundle ?? '');
}

function certificatesIn(caBundle: string): X509Certificate[] {
  return certificatesOf(Buffer.from(caBundle, 'base64').toString()).certificates;
}

/** JSON Patch of the webhooks whose bundle differs. Naming the resourceVersion makes it a 409 when somebody wrote in between. */
function patchOf(configuration: WebhookConfiguration, caBundle: string): object[] {
  const changes = bundlesOf(configuration).flatMap((present, index) =>
    present === caBundle ? [] : [{ op: 'add', path: `/webhooks/${index}/clientConfig/caBundle`, value: caBundle }],
  );
  if (changes.length === 0) return [];
  return [
    { op: 'replace', path: '/metadata/resourceVersion', value: configuration.metadata.resourceVersion },
    ...changes,
  ];
}
