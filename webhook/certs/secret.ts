// SPDX-License-Identifier: Apache-2.0
import { OBJECTS } from '#crds/names.ts';
import { find } from '#kube/apply.ts';
import type { KubeClient } from '#kube/client.ts';
import { KubeError } from '#kube/errors.ts';
import { SECRETS } from '#kube/resource.ts';
import type { KubeObject, ObjectRef } from '#kube/types.ts';

/** Field manager of what the webhook writes of its certificate. */
export const FIELD_MANAGER = 'penstock-webhook';

export interface CertificateSecret extends KubeObject {
  readonly data?: Readonly<Record<string, string>>;
}

/** The Secret with the webhook's certificate: the only truth about it, for all replicas. */
export interface SecretStore {
  readonly ref: ObjectRef & { readonly namespace: string };
  /** As it is now; undefined: there is none. */
  read(signal: AbortSignal): Promise<CertificateSecret | undefined>;
  /**
   * Sets `data`, unless somebody has written since `before` was read: then 409, and the other one's content is to be read.
   * Keys that are not in `data` stay as they are.
   */
  write(
    before: CertificateSecret | undefined,
    data: Record<string, string>,
    signal: AbortSignal,
  ): Promise<CertificateSecret>;
}

export function createSecretStore(client: KubeClient, namespace: string): SecretStore {
  const ref = { namespace, name: OBJECTS.webhookSecret };
  const labels = { 'app.kubernetes.io/name': 'penstock-webhook', 'app.kubernetes.io/part-of': 'penstock' };
  const options = (signal: AbortSignal) => ({ fieldManager: FIELD_MANAGER, signal });
  return {
    ref,
    read: (signal) => find<CertificateSecret>(client, SECRETS, ref, { signal }),
    write: async (before, data, signal) => {
      // An apply, since RBAC can bind to a name only what carries one in its path: a right to create by POST would be one to create any
      // Secret here. Empty, and the same by every replica: so it settles nothing, the PUT with its resourceVersion does.
      const empty = (): Promise<CertificateSecret> =>
        client.apply(SECRETS, { metadata: { ...ref, labels } }, options(signal));
      const found = before ?? (await empty());
      // It was there all the same: made and filled since it was looked for.
      if (before === undefined && found.data !== undefined) throw outrun(ref.name);
      return client.replace<CertificateSecret>(
        SECRETS,
        { ...found, data: { ...found.data, ...data } },
        options(signal),
      );
    },
  };
}

function outrun(name: string): KubeError {
  return new KubeError(`Secret ${name} was written by another replica`, { status: 409, reason: 'Conflict' });
}
