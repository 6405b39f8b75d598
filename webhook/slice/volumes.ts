// SPDX-License-Identifier: Apache-2.0
// Volumes and mounts of a sliced pod: the library once, region and quota for each sliced container. What is there already is judged by
// what it is, not by its name.
import { posix } from 'node:path';
import { CONTAINER_ANNOTATIONS } from '#crds/names.ts';
import type { Delivery } from './context.ts';
import { STRATEGIES, deliveredBy } from './delivery.ts';
import { INIT_CONTAINER, PATHS, QUOTA_FILE, VOLUMES } from './names.ts';
import type { Patch } from './patch.ts';
import { places } from './pod.ts';
import type { Container, Place, PodSpec, Volume, VolumeMount } from './pod.ts';

/** A ledger of 1.1 MiB and a page of limits, in memory: shared by all processes of one container, and gone with the pod. */
const REGION_LIMIT = '4Mi';
/** Of a path in a message. */
const MAX_SHOWN = 64;
const NUMBERED = new RegExp(`^(${VOLUMES.region}|${VOLUMES.quota})(0|[1-9]\\d{0,3})$`);

/** A number for the volumes of each of these containers, parallel to them: the one that is its own, or the first that is free. */
export function volumeNumbers(spec: PodSpec, containers: readonly Container[]): number[] {
  const volumes = byName(spec);
  const taken = new Set<number | undefined>(containers.map((container) => numberOf(container)));
  for (const name of volumes.keys()) taken.add(numberIn(name));
  const used = new Set<number>();
  let next = 0;
  return containers.map((container) => {
    let number = numberOf(container);
    // A container that was copied with its mounts would share the other one's quota and region.
    if (number === undefined || used.has(number) || isOfAnother(volumes.get(`${VOLUMES.quota}${number}`), container)) {
      while (taken.has(next)) next += 1;
      taken.add(next);
      number = next;
    }
    used.add(number);
    return number;
  });
}

/** Why our volumes and mounts have no room in the pod, for people. */
export function conflict(spec: PodSpec, containers: readonly Container[]): string | undefined {
  if (deliveredBy(spec.volumes?.find(({ name }) => name === VOLUMES.library)) === 'foreign') {
    return `volume ${VOLUMES.library} is not Penstock's`;
  }
  // Two containers of one name would be refused, and the pod with them.
  const namesake = places(spec).find(({ container }) => container.name === INIT_CONTAINER);
  if (namesake !== undefined && !isInstaller(namesake)) return `container ${INIT_CONTAINER} is not Penstock's`;
  for (const { name, volumeMounts } of containers) {
    const mount = volumeMounts?.find((one) => !isOurs(one) && isInTheWay(one.mountPath));
    if (mount !== undefined)
      return `container ${name} mounts a volume at ${JSON.stringify(mount.mountPath.slice(0, MAX_SHOWN))}, where Penstock's have to be`;
  }
  return undefined;
}

export function setVolumes(
  patch: Patch,
  spec: PodSpec,
  containers: readonly Container[],
  numbers: readonly number[],
  delivery: Delivery,
): void {
  const wanted: Volume[] = [STRATEGIES[delivery.kind].volume(delivery)];
  containers.forEach(({ name }, index) => wanted.push(...ownVolumes(name, numbers[index] ?? 0)));
  const there = new Map(spec.volumes?.map((volume, index) => [volume.name, { volume, index }]));
  const missing: Volume[] = [];
  for (const one of wanted) {
    const known = there.get(one.name);
    if (known === undefined) missing.push(one);
    else if (!isSame(known.volume, one)) patch.replace(`/spec/volumes/${known.index}`, one);
  }
  patch.append('/spec/volumes', spec.volumes, missing);
}

export function setMounts(patch: Patch, path: string, { volumeMounts }: Container, number: number): void {
  const missing: VolumeMount[] = [];
  for (const wanted of mounts(number)) {
    const index = volumeMounts?.findIndex(({ mountPath }) => mountPath === wanted.mountPath) ?? -1;
    const there = volumeMounts?.[index];
    if (there === undefined) missing.push(wanted);
    else if (!isSameMount(there, wanted)) patch.replace(`${path}/volumeMounts/${index}`, wanted);
  }
  patch.append(`${path}/volumeMounts`, volumeMounts, missing);
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
  const kind = deliveredBy(spec.volumes?.find(({ name }) => name === VOLUMES.library));
  return kind === undefined || kind === 'foreign' || kind === delivery.kind ? delivery : { ...delivery, kind };
}

/** The number of the volumes that a container mounts; undefined where it is not sliced. */
export function numberOf({ volumeMounts }: Container): number | undefined {
  const mount = volumeMounts?.find((one) => one.mountPath === PATHS.region && isOurs(one));
  return mount && numberIn(mount.name);
}

/** It mounts something of ours where that belongs. */
export function isMarked({ volumeMounts }: Container): boolean {
  return volumeMounts?.some((mount) => isOurs(mount)) ?? false;
}

export function isOurs({ name, mountPath }: VolumeMount): boolean {
  if (mountPath === PATHS.library) return name === VOLUMES.library;
  const kind = NUMBERED.exec(name)?.[1];
  return mountPath === PATHS.region ? kind === VOLUMES.region : mountPath === PATHS.quota && kind === VOLUMES.quota;
}

/** A name that our volumes have. */
export function isOurVolume(name: string): boolean {
  return name === VOLUMES.library || NUMBERED.test(name);
}

/** Our own init container. */
export function isInstaller({ container, phase }: Place): boolean {
  const mount = container.volumeMounts?.find(({ mountPath }) => mountPath === PATHS.library);
  return phase === 'init' && container.name === INIT_CONTAINER && mount?.name === VOLUMES.library;
}

function mounts(number: number): VolumeMount[] {
  return [
    { name: VOLUMES.library, mountPath: PATHS.library, readOnly: true },
    { name: `${VOLUMES.region}${number}`, mountPath: PATHS.region },
    { name: `${VOLUMES.quota}${number}`, mountPath: PATHS.quota, readOnly: true },
  ];
}

function ownVolumes(container: string, number: number): Volume[] {
  const fieldPath = quotaField(container);
  return [
    { name: `${VOLUMES.region}${number}`, emptyDir: { medium: 'Memory', sizeLimit: REGION_LIMIT } },
    { name: `${VOLUMES.quota}${number}`, downwardAPI: { items: [{ path: QUOTA_FILE, fieldRef: { fieldPath } }] } },
  ];
}

function quotaField(container: string): string {
  return `metadata.annotations['${container}${CONTAINER_ANNOTATIONS.quota}']`;
}

/** Beside what the API server's defaults add. Of the library the kind is enough: its image may be named by a mirror's address. */
function isSame(there: Volume, wanted: Volume): boolean {
  const sources = Object.entries(there).filter(
    ([key, value]) => key !== 'name' && value !== undefined && value !== null,
  );
  if (sources.length !== 1) return false;
  if (wanted.name === VOLUMES.library) return deliveredBy(there) === deliveredBy(wanted);
  if (wanted.emptyDir) {
    return there.emptyDir?.medium === wanted.emptyDir.medium && there.emptyDir?.sizeLimit === wanted.emptyDir.sizeLimit;
  }
  const [item, ...more] = itemsOf(there);
  const [own] = itemsOf(wanted);
  return more.length === 0 && item?.path === own?.path && item?.fieldRef?.fieldPath === own?.fieldRef?.fieldPath;
}

interface DownwardItem {
  readonly path?: string;
  readonly fieldRef?: { readonly fieldPath?: string };
}

function itemsOf({ downwardAPI }: Volume): readonly DownwardItem[] {
  const items = downwardAPI?.items;
  return Array.isArray(items) ? (items as readonly DownwardItem[]) : [];
}

function isSameMount(there: VolumeMount, wanted: VolumeMount): boolean {
  const { name, readOnly = false, subPath, subPathExpr } = there;
  return name === wanted.name && readOnly === (wanted.readOnly ?? false) && !subPath && !subPathExpr;
}

function isOfAnother(quota: Volume | undefined, { name }: Container): boolean {
  const fieldPath = quota && itemsOf(quota)[0]?.fieldRef?.fieldPath;
  return fieldPath !== undefined && fieldPath !== quotaField(name);
}

/** At the folder that is ours, in it, or around it. The kubelet takes a path without a first slash from the root, too. */
function isInTheWay(mountPath: string): boolean {
  const path = posix.resolve('/', mountPath);
  return (
    path === PATHS.root || path.startsWith(`${PATHS.root}/`) || PATHS.root.startsWith(path === '/' ? path : `${path}/`)
  );
}

function numberIn(name: string): number | undefined {
  const number = NUMBERED.exec(name)?.[2];
  return number === undefined ? undefined : Number(number);
}

function byName({ volumes }: PodSpec): Map<string, Volume> {
  return new Map(volumes?.map((volume) => [volume.name, volume]));
}
