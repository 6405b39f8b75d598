// SPDX-License-Identifier: Apache-2.0
import type { ServedApp } from '../../apps/app-source.ts';
import { resolveApp } from '../../apps/resolve.ts';
import { authenticate } from '../../auth/credential.ts';
import { requireRole } from '../../auth/roles.ts';
import type { Tenant } from '../../auth/tenants.ts';
import { gatewayError, queueUnavailable } from '../../errors.ts';
import type { Exchange } from '../../http/exchange.ts';
import type { RequestRecord } from '../../queue/lease-queue.ts';
import type { ClientContext } from '../context.ts';

export interface Access {
  readonly tenant: Tenant;
  readonly app: ServedApp;
}

/**
 * Who may look after an app's dead letters: operators at those of their own tenant, admins at all of an app that they may call. For
 * everyone else than these the app comes first: who may not call it hears that there is none.
 * @throws ProblemError 401, 403, 404
 */
export async function deadLetterAccess(
  x: Exchange,
  context: ClientContext,
  appName: string,
  role: 'operator' | 'admin',
): Promise<Access> {
  const tenant = await authenticate(x.req, context.tenants);
  x.tenant = tenant.name;
  x.subject = tenant.subject;
  const app = resolveApp(context.apps, tenant, appName);
  x.app = app.uid;
  requireRole(tenant, role);
  return { tenant, app };
}

/**
 * The dead letter that a path names, by its ticket or by the bare id of its request; also one that was redriven already.
 * @throws ProblemError 404, 503
 */
export async function findLetter(context: ClientContext, app: ServedApp, name: string): Promise<RequestRecord> {
  const id = context.tickets.idOf(name);
  const record = id === undefined ? undefined : await asked(() => context.queue.get(app.uid, id));
  if (record === undefined || !(record.deadLetter || record.redrivenAs !== undefined)) throw letterUnknown();
  const { tenant } = record;
  if (name !== id && context.tickets.verify({ appUid: app.uid, tenant }, name) === undefined) throw letterUnknown();
  return record;
}

export function letterUnknown(): Error {
  return gatewayError('dead-letter-unknown', 'the app has no dead letter of this name', {
    field: 'path.id',
    fix: 'use id or request of a letter as GET …/dead-letters lists it; one that was removed is gone',
  });
}

/** @throws ProblemError 503 */
export async function asked<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (err) {
    throw queueUnavailable(err);
  }
}
