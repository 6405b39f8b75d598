// SPDX-License-Identifier: Apache-2.0
// Security contexts: they may be tightened, never weakened (PodSecurity `restricted`, which units are made for).
import { echo, isRecord, member } from './field-error.ts';
import type { FieldError } from './field-error.ts';
import { itemsOf, unknownMembers } from './pod-template-parts.ts';

type Check = (value: unknown) => string | undefined;

const BOTH: Readonly<Record<string, Check>> = {
  runAsUser: (value) => (value === 0 ? 'must not be 0: units do not run as root' : undefined),
  runAsGroup: allowed,
  runAsNonRoot: (value) => only(value, true),
  seccompProfile: profile,
  appArmorProfile: profile,
  seLinuxOptions,
};
const POD: Readonly<Record<string, Check>> = {
  ...BOTH,
  fsGroup: allowed,
  fsGroupChangePolicy: allowed,
  supplementalGroups: allowed,
  supplementalGroupsPolicy: allowed,
  seLinuxChangePolicy: allowed,
  sysctls: allowed,
};
const CONTAINER: Readonly<Record<string, Check>> = {
  ...BOTH,
  allowPrivilegeEscalation: (value) => only(value, false),
  privileged: (value) => only(value, false),
  procMount: (value) => only(value, 'Default'),
  readOnlyRootFilesystem: allowed,
  capabilities,
};
/** Capabilities that even `restricted` lets a container add. */
const ADDABLE: readonly unknown[] = ['NET_BIND_SERVICE'];
/** Types of SELinux that PodSecurity `baseline` allows. */
const SELINUX_TYPES: readonly unknown[] = [
  '',
  'container_t',
  'container_init_t',
  'container_kvm_t',
  'container_engine_t',
];
/** Sysctls that PodSecurity `baseline` allows: namespaced, and no danger to other pods of the node. */
const SYSCTLS: readonly unknown[] = [
  'kernel.shm_rmid_forced',
  ...['ip_local_port_range', 'ip_unprivileged_port_start', 'tcp_syncookies', 'ping_group_range'].map(ipv4),
  ...['ip_local_reserved_ports', 'tcp_keepalive_time', 'tcp_fin_timeout'].map(ipv4),
  ...['tcp_keepalive_intvl', 'tcp_keepalive_probes'].map(ipv4),
];

/** Of the pod's own security context. */
export function podSecurityErrors(context: unknown, path: string): FieldError[] {
  return [...contextErrors(context, path, POD), ...sysctlErrors(context, path)];
}

/** Of one container's. `readOnlyRoot`: its root file system is read-only already and stays so. */
export function containerSecurityErrors(context: unknown, path: string, readOnlyRoot: boolean): FieldError[] {
  const errors = contextErrors(context, path, CONTAINER);
  if (!readOnlyRoot || !isRecord(context)) return errors;
  const fault = only(context['readOnlyRootFilesystem'], true);
  return fault === undefined ? errors : [...errors, { path: member(path, 'readOnlyRootFilesystem'), message: fault }];
}

/** The members of a security context that the checks have nothing against: for a merge with what nobody has checked. */
export function harmlessPart(
  context: Readonly<Record<string, unknown>>,
  of: 'pod' | 'container',
): Readonly<Record<string, unknown>> {
  const checks = of === 'pod' ? POD : CONTAINER;
  const kept = Object.entries(context).filter(([key, value]) => {
    const check = Object.hasOwn(checks, key) ? checks[key] : undefined;
    return check !== undefined && check(value) === undefined && (key !== 'sysctls' || areSafe(context));
  });
  return Object.fromEntries(kept);
}

function areSafe(context: Readonly<Record<string, unknown>>): boolean {
  return sysctlErrors(context, '').length === 0;
}

function contextErrors(context: unknown, path: string, checks: Readonly<Record<string, Check>>): FieldError[] {
  if (context === undefined || context === null) return [];
  if (!isRecord(context)) return [{ path, message: 'must be an object' }];
  const faults = Object.entries(checks).flatMap(([key, check]) => {
    const value = context[key] ?? undefined;
    const message = value === undefined ? undefined : check(value);
    return message === undefined ? [] : [{ path: member(path, key), message }];
  });
  return [...unknownMembers(context, Object.keys(checks), path), ...faults];
}

function allowed(): undefined {
  return undefined;
}

/** Whatever else a value may be, a string `"false"` included, it is not what we know to be harmless. */
function only(value: unknown, wanted: unknown): string | undefined {
  return value === undefined || value === null || value === wanted
    ? undefined
    : `must be ${String(wanted)}, not ${echo(value)}`;
}

function profile(value: unknown): string | undefined {
  const type = isRecord(value) ? value['type'] : value;
  return type === 'RuntimeDefault' || type === 'Localhost'
    ? undefined
    : `must have type RuntimeDefault or Localhost, not ${echo(type)}`;
}

function seLinuxOptions(value: unknown): string | undefined {
  if (!isRecord(value)) return 'must be an object';
  const { type = '', user = '', role = '' } = value;
  if ((user ?? '') !== '' || (role ?? '') !== '') return 'must have neither user nor role';
  return SELINUX_TYPES.includes(type ?? '') ? undefined : `must have a type of containers, not ${echo(type)}`;
}

function capabilities(value: unknown): string | undefined {
  if (!isRecord(value)) return 'must be an object';
  const add: unknown[] = Array.isArray(value['add']) ? value['add'] : [];
  const more = add.find((name) => !ADDABLE.includes(name));
  if (more !== undefined) return `must not add ${echo(more)}: units have no capability`;
  return value['add'] !== undefined && value['add'] !== null && !Array.isArray(value['add'])
    ? 'must have a list to add'
    : undefined;
}

function sysctlErrors(context: unknown, path: string): FieldError[] {
  const { items, errors } = itemsOf(isRecord(context) ? context['sysctls'] : undefined, member(path, 'sysctls'));
  const unsafe = items
    .filter(({ item }) => !SYSCTLS.includes(item['name']))
    .map(({ item, path: at }) => ({
      path: member(at, 'name'),
      message: `must be one of the safe sysctls, not ${echo(item['name'])}`,
    }));
  return [...errors, ...unsafe];
}

function ipv4(name: string): string {
  return `net.ipv4.${name}`;
}
