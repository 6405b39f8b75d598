// SPDX-License-Identifier: Apache-2.0
// Volumes and mounts of a sliced pod: the library once, region and quota for each sliced container.
import { CONTAINER_ANNOTATIONS } from '#crds/names.ts';
import type { Delivery } from './context.ts';
import { STRATEGIES, deliveredBy } from './delivery.ts';
import { INIT_CONTAINER, PATHS, QUOTA_FILE, VOLUMES } from './names.ts';
import type { Patch } from './patch.ts';
import { places } from './pod.ts';
import type { Container, Place, PodSpec, Volume, VolumeMount } from './pod.ts';

/** A ledger of 1.1 MiB and a page of limits, in memory: shared by all processes of one container, and gone with the pod. */
const REGION_LIMIT = '4Mi';
const NUMBERED = new RegExp(`^(?:${VOLUMES.region}|${VOLUMES.quota})(\\d{1,4})$`);

/** A number for the volumes of each of these containers, parallel to them: the one it has, or the first that is free. */
export function volumeNumbers(spec: PodSpec, containers: readonly Container[]): number[] {
  const taken = new Set(spec.volumes?.map(({ name }) => Number(NUMBERED.exec(name)?.[1] ?? -1)));
  let next = 0;
  return containers.map((container) => {
    const own = mountAt(container, PATHS.region)?.name;
    const known = own === undefined ? undefined : NUMBERED.exec(own)?.[1];
    if (known !== undefined) return Number(known);
    while (taken.has(next)) next += 1;
    taken.add(next);
    return next;
  });
}

/** Why our volumes and mounts have no room in the pod, for people. */
export function conflict(spec: PodSpec, containers: readonly Container[]): string | undefined {
  if (deliveredBy(volumeNamed(spec, VOLUMES.library)) === 'foreign') {
    return `volume ${VOLUMES.library} is not Penstock's`;
  }
  // Two containers of one name would be refused, and the pod with them.
  const namesake = places(spec).find(({ container }) => container.name === INIT_CONTAINER);
  if (namesake !== undefined && !isInstaller(namesake)) return `container ${INIT_CONTAINER} is not Penstock's`;
  for (const { name, volumeMounts } of containers) {
    const mount = volumeMounts?.find((one) => isBelow(one.mountPath) && !isOurs(one));
    if (mount !== undefined)
      return `container ${name} mounts volume ${mount.name} at ${mount.mountPath}, where Penstock's have to be`;
  }
  return undefined;
}

export function addVolumes(
  patch: Patch,
  spec: PodSpec,
  containers: readonly Container[],
  numbers: readonly number[],
  delivery: Delivery,
): void {
  const wanted: Volume[] = [STRATEGIES[delivery.kind].volume(delivery)];
  containers.forEach(({ name }, index) => wanted.push(...ownVolumes(name, numbers[index] ?? 0)));
  const there = new Set(spec.volumes?.map(({ name }) => name));
  patch.append(
    '/spec/volumes',
    spec.volumes,
    wanted.filter(({ name }) => !there.has(name)),
  );
}

export function addMounts(patch: Patch, path: string, container: Container, number: number): void {
  const missing = mounts(number).filter(({ mountPath }) => mountAt(container, mountPath) === undefined);
  patch.append(`${path}/volumeMounts`, container.volumeMounts, missing);
}

/** Ours comes before all others: they are preloaded, too, or wait for nothing. */
export function addInitContainer(patch: Patch, spec: PodSpec, delivery: Delivery): void {
  const make = STRATEGIES[delivery.kind].init;
  if (make === undefined) return;
  const index = spec.initContainers?.findIndex(({ name }) => name === INIT_CONTAINER) ?? -1;
  if (index === 0) return;
  if (index > 0) patch.move(`/spec/initContainers/${index}`, '/spec/initContainers/0');
  else if (spec.initContainers === undefined) patch.add('/spec/initContainers', [make(delivery, spec)]);
  else patch.add('/spec/initContainers/0', make(delivery, spec));
}

/** As an earlier pass has it, even if the cluster's way has changed since. */
export function deliveryOf(spec: PodSpec, delivery: Delivery): Delivery {
  const kind = deliveredBy(volumeNamed(spec, VOLUMES.library));
  return kind === undefined || kind === 'foreign' || kind === delivery.kind ? delivery : { ...delivery, kind };
}

/** The mounts of a container whose volumes bear this number. */
export function mounts(number: number): VolumeMount[] {
  return [
    { name: VOLUMES.library, mountPath: PATHS.library, readOnly: true },
    { name: `${VOLUMES.region}${number}`, mountPath: PATHS.region },
    { name: `${VOLUMES.quota}${number}`, mountPath: PATHS.quota, readOnly: true },
  ];
}

/** The number of the volumes that a container mounts; undefined where it is not sliced. */
export function numberOf(container: Container): number | undefined {
  const number = NUMBERED.exec(mountAt(container, PATHS.region)?.name ?? '')?.[1];
  return number === undefined ? undefined : Number(number);
}

function isInstaller({ container, phase }: Place): boolean {
  return phase === 'init' && mountAt(container, PATHS.library)?.name === VOLUMES.library;
}

function ownVolumes(container: string, number: number): Volume[] {
  const fieldPath = `metadata.annotations['${container}${CONTAINER_ANNOTATIONS.quota}']`;
  return [
    { name: `${VOLUMES.region}${number}`, emptyDir: { medium: 'Memory', sizeLimit: REGION_LIMIT } },
    { name: `${VOLUMES.quota}${number}`, downwardAPI: { items: [{ path: QUOTA_FILE, fieldRef: { fieldPath } }] } },
  ];
}

function isOurs({ name, mountPath }: VolumeMount): boolean {
  if (mountPath === PATHS.library) return name === VOLUMES.library;
  return (mountPath === PATHS.region || mountPath === PATHS.quota) && NUMBERED.test(name);
}

/** At the folder that is ours, in it, or (a mount of `/penstock`) around it. */
function isBelow(mountPath: string): boolean {
  return mountPath === PATHS.root || mountPath.startsWith(`${PATHS.root}/`);
}

function mountAt({ volumeMounts }: Container, mountPath: string): VolumeMount | undefined {
  return volumeMounts?.find((mount) => mount.mountPath === mountPath);
}

function volumeNamed({ volumes }: PodSpec, name: string): Volume | undefined {
  return volumes?.find((volume) => volume.name === name);
}
