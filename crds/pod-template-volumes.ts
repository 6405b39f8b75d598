// SPDX-License-Identifier: Apache-2.0
import { echo, member } from './field-error.ts';
import type { FieldError } from './field-error.ts';
import { UNIT_POD } from './names.ts';
import { itemsOf, unknownMembers } from './pod-template-parts.ts';

/** Volumes of PodSecurity `restricted`, images, and NFS, on which models commonly lie. Above all no hostPath. */
const SOURCES = [
  'configMap',
  'csi',
  'downwardAPI',
  'emptyDir',
  'ephemeral',
  'image',
  'nfs',
  'persistentVolumeClaim',
  'projected',
  'secret',
];
const RESERVED: readonly unknown[] = [UNIT_POD.tokenVolume, UNIT_POD.tmpVolume, UNIT_POD.serverTmpVolume];
/** Names that the admission server gives to what it adds. */
export const RESERVED_PREFIX = 'penstock-';

/** Of the pod's volumes. */
export function volumeErrors(value: unknown, path: string): FieldError[] {
  const { items, errors } = itemsOf(value, path);
  const own = items.flatMap(({ item, path: at }) => {
    const { name, hostPath } = item;
    const found: FieldError[] = [];
    if (RESERVED.includes(name) || (typeof name === 'string' && name.startsWith(RESERVED_PREFIX))) {
      found.push({ path: member(at, 'name'), message: `must not be ${echo(name)}, which is Penstock's own` });
    }
    if (hostPath !== undefined && hostPath !== null) {
      const hint = 'use a persistentVolumeClaim, an image or an emptyDir';
      found.push({
        path: member(at, 'hostPath'),
        message: 'may not be specified: a unit has no part of the node',
        hint,
      });
    }
    return [...found, ...unknownMembers(item, ['name', 'hostPath', ...SOURCES], at)];
  });
  return [...errors, ...own];
}

/** Of a container's mounts: the unit token belongs to the worker. */
export function mountErrors(value: unknown, path: string): FieldError[] {
  const { items, errors } = itemsOf(value, path);
  const token = items
    .filter(({ item }) => item['name'] === UNIT_POD.tokenVolume)
    .map(({ path: at }) => ({
      path: member(at, 'name'),
      message: 'must not be token: only the worker has the unit token',
    }));
  return [...errors, ...token];
}
