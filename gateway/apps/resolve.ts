// SPDX-License-Identifier: Apache-2.0
import type { Tenant } from '../auth/tenants.ts';
import { gatewayError } from '../errors.ts';
import type { AppSource, ServedApp } from './app-source.ts';

/** `namespace.name`, or `name` in the tenant's namespace: neither holds a dot of its own. */
const APP_NAME = /^(?:([a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?)\.)?([a-z0-9](?:[-a-z0-9]{0,38}[a-z0-9])?)$/;

/**
 * The app that a path names for a tenant. One that the tenant may not call is as unknown as one that is not there, with the same work.
 * @throws ProblemError 404, or 503 while the gateway has not yet heard of all apps
 */
export function resolveApp(apps: AppSource, tenant: Tenant, name: string): ServedApp {
  const [, namespace = tenant.namespace, app = ''] = APP_NAME.exec(name) ?? [];
  const found = apps.get(namespace, app);
  const allowed = tenant.mayCall({ namespace, name: app });
  if (found !== undefined && allowed) return found;
  if (!apps.synced()) {
    throw gatewayError('not-ready', 'the gateway has not yet read the list of apps', {
      fix: 'try again in a moment',
      headers: { 'retry-after': '1' },
    });
  }
  throw gatewayError('app-unknown', 'there is no app of this name that the tenant may call', {
    field: 'path.app',
    fix: 'use the name of an InferenceApp of the namespace that your credential belongs to, or namespace.name of one that it was allowed',
  });
}

/** @throws ProblemError 409 when the app takes nothing new */
export function checkAccepting(app: ServedApp): void {
  if (app.deleting) throw appDeleting();
  if (app.spec.desiredState === 'Draining') {
    throw gatewayError('app-draining', 'the app takes no new requests; what is queued is being finished', {
      field: 'path.app',
      fix: 'set spec.desiredState to Ready, or use another app',
    });
  }
}

export function appDeleting(): Error {
  return gatewayError('app-deleting', 'the app is being deleted and takes no new requests', {
    field: 'path.app',
    fix: 'create the app again, or use another one',
  });
}
