// SPDX-License-Identifier: Apache-2.0
import { echo, member } from './field-error.ts';
import type { FieldError } from './field-error.ts';
import type { InferenceAppWorker } from './inference-app.gen.ts';
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

/** Volumes of the worker that no template may mount: the unit token, and beside it all that the adapter has, where it is the worker. */
export function sealedVolumes(adapter: boolean): readonly unknown[] {
  return adapter ? [UNIT_POD.tokenVolume, UNIT_POD.tmpVolume] : [UNIT_POD.tokenVolume];
}

/** Of a container's mounts. */
export function mountErrors(value: unknown, path: string, archetype: InferenceAppWorker['archetype']): FieldError[] {
  const { items, errors } = itemsOf(value, path);
  const sealed = sealedVolumes(archetype === 'Sidecar');
  const found = items
    .filter(({ item }) => sealed.includes(item['name']))
    .map(({ item, path: at }) => ({
      path: member(at, 'name'),
      message: `must not be ${echo(item['name'])}: only the worker has it`,
    }));
  return [...errors, ...found];
}
