// SPDX-License-Identifier: Apache-2.0
import { ROLES } from '#base/tenants.ts';
import type { Role } from '#base/tenants.ts';
import { gatewayError } from '../errors.ts';
import type { Tenant } from './tenants.ts';

/**
 * Each role may do what the ones before it may: client, operator, admin. Call it after the app was resolved: who may not call an app
 * hears that it is unknown, whatever the role.
 * @throws ProblemError 403
 */
export function requireRole({ role }: Pick<Tenant, 'role'>, needed: Role): void {
  if (ROLES.indexOf(role) >= ROLES.indexOf(needed)) return;
  throw gatewayError('forbidden', `this call wants the role ${needed}; the credential has the role ${role}`, {
    field: 'header:Authorization',
    fix: `use a credential with role ${needed}, or have the role of this one raised in tenants.yaml`,
  });
}
