// SPDX-License-Identifier: Apache-2.0
import type { InferenceApp } from '#crds/inference-app.gen.ts';
import type { AppCeilings, TenantEntry, TenantsDocument } from '#base/tenants.ts';
import { forbidden } from './problems.ts';
import type { Problem } from './problems.ts';

const MAX_UNITS = 'spec.scaling.maxUnits';
const COUNT = 'spec.resources.gpu.count';
/** What ceilings are about. */
export const CEILING_FIELDS: readonly string[] = [MAX_UNITS, COUNT];

/** What an app asks for beyond what the tenants of its namespace may. */
export function ceilingProblems(app: InferenceApp, namespace: string, tenants: TenantsDocument): Problem[] {
  const { maxUnits, gpusPerUnit, gpus } = ceilingsOf(namespace, tenants);
  const units = app.spec.scaling.maxUnits;
  const count = app.spec.resources?.gpu?.count ?? 0;
  const why = `for an app in namespace ${namespace} (penstock-tenants)`;
  const problems: Problem[] = [];
  if (maxUnits !== undefined && units > maxUnits) {
    problems.push(forbidden(MAX_UNITS, `must be at most ${maxUnits} ${why}, not ${units}`));
  }
  if (gpusPerUnit !== undefined && count > gpusPerUnit) {
    problems.push(forbidden(COUNT, `must be at most ${gpusPerUnit} ${why}, not ${count}`));
  }
  if (gpus !== undefined && count * units > gpus) {
    const message = `${units} units with ${count} GPUs each are ${units * count} GPUs, at most ${gpus} are allowed ${why}`;
    problems.push(forbidden(MAX_UNITS, message, [COUNT]));
  }
  return problems;
}

/** A tenant that may never hold as many requests as the units of the app could take wakes GPUs for nothing. */
export function ceilingWarnings(app: InferenceApp, namespace: string, tenants: TenantsDocument): string[] {
  const { maxUnits, concurrency } = app.spec.scaling;
  return ofNamespace(namespace, tenants).flatMap((tenant) => {
    const { name } = app.metadata;
    const own = tenant.appLimits?.[name] ?? tenant.appLimits?.[`${namespace}.${name}`];
    const most = own?.maxInFlight ?? tenant.maxInFlight;
    const places = maxUnits * concurrency;
    if (most === undefined || most >= places) return [];
    return [`${MAX_UNITS}: tenant ${tenant.name} may have ${most} requests running, its units take ${places}`];
  });
}

/** Of several tenants of one namespace the most generous bound holds: nobody can tell whose an app is. */
function ceilingsOf(namespace: string, tenants: TenantsDocument): AppCeilings {
  const entries = ofNamespace(namespace, tenants);
  if (entries.length === 0) return tenants.default?.ceilings ?? {};
  const most = (key: keyof AppCeilings): AppCeilings => {
    const bounds = entries.map(({ ceilings }) => ceilings?.[key] ?? Number.POSITIVE_INFINITY);
    const bound = Math.max(...bounds);
    return Number.isFinite(bound) ? { [key]: bound } : {};
  };
  return { ...most('maxUnits'), ...most('gpusPerUnit'), ...most('gpus') };
}

function ofNamespace(namespace: string, tenants: TenantsDocument): TenantEntry[] {
  return tenants.tenants.filter((tenant) => (tenant.namespace ?? tenant.name) === namespace);
}
