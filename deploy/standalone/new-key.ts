// SPDX-License-Identifier: Apache-2.0
import { parseArgs } from 'node:util';
import { stringify } from 'yaml';
import { newApiKey } from '#base/api-key.ts';
import type { Clock } from '#base/clock.ts';
import type { Random } from '#base/random.ts';
import { ROLES, TenantsError, parseTenantsDocument } from '#base/tenants.ts';
import type { ApiKeyEntry } from '#base/tenants.ts';
import { UsageError } from './errors.ts';

export interface NewKeyText {
  /** For standard output, so that it can go into a file and nowhere else. It is kept nowhere. */
  readonly key: string;
  /** For the person at the terminal: what goes into tenants.yaml. */
  readonly entry: string;
}

const OPTIONS = {
  tenant: { type: 'string' },
  role: { type: 'string', default: 'client' },
  expires: { type: 'string' },
  name: { type: 'string' },
} as const;

const INTRODUCTION = `# The key is shown once and kept nowhere. This goes into tenants.yaml
# (the list item into apiKeys, if the tenant is there already):
`;
const SPAN = /^([1-9][0-9]{0,4})d$/;
const DAY_MS = 86_400_000;

/**
 * `penstock keys new --tenant T [--role R] [--expires 90d | RFC 3339] [--name N]`
 * @throws UsageError naming the option
 */
export function newKey(argv: readonly string[], clock: Pick<Clock, 'now'>, random: Random): NewKeyText {
  const { tenant, role, expires, name } = optionsOf(argv);
  if (tenant === undefined) throw new UsageError('--tenant is required: the tenant in tenants.yaml whose key it is');
  const { key, prefix, sha256 } = newApiKey(random);
  const expiresAt = expires === undefined ? undefined : endOf(expires, clock.now());
  const entry = {
    prefix,
    sha256,
    role,
    ...(expiresAt === undefined ? {} : { expiresAt }),
    ...(name === undefined ? {} : { name }),
  };
  check(tenant, entry as ApiKeyEntry);
  return { key: `${key}\n`, entry: `${INTRODUCTION}${stringify({ tenants: [{ name: tenant, apiKeys: [entry] }] })}` };
}

function optionsOf(argv: readonly string[]) {
  try {
    return parseArgs({ args: [...argv], options: OPTIONS, strict: true }).values;
  } catch (err) {
    throw new UsageError(err instanceof Error ? err.message : 'the options cannot be read', { cause: err });
  }
}

/** The rules of tenants.yaml are the rules here. */
function check(tenant: string, entry: ApiKeyEntry): void {
  try {
    parseTenantsDocument({ tenants: [{ name: tenant, apiKeys: [entry] }] });
  } catch (err) {
    if (!(err instanceof TenantsError)) throw err;
    const option = { role: '--role', expiresAt: '--expires' }[err.field.split('.').at(-1) ?? ''];
    const given = option ?? (err.field.includes('apiKeys') ? '--name' : '--tenant');
    throw new UsageError(`${given}: ${err.fix}`, { cause: err });
  }
}

function endOf(expires: string, now: number): string {
  const days = Number(SPAN.exec(expires)?.[1]);
  if (!Number.isNaN(days)) return new Date(now + days * DAY_MS).toISOString().replace(/\.\d{3}Z$/, 'Z');
  if (Date.parse(expires) <= now)
    throw new UsageError('--expires: write a time that is still to come, or days such as 90d');
  return expires;
}

export const KEYS_HELP = `  penstock keys new --tenant T  make an API key: the entry for tenants.yaml, and the key itself, once
      --role ROLE               ${ROLES.join(', ')} (client)
      --expires TIME            days such as 90d, or an RFC 3339 time; default: never
      --name TEXT               whose key it is, for people
`;
