// SPDX-License-Identifier: Apache-2.0
// The ways by which the preloaded objects come into a pod: one row each. All of them give the volume that containers mount.
import { parseQuantity } from '#kube/quantity.ts';
import { parseImage } from '../validate/image-reference.ts';
import type { Delivery } from './context.ts';
import { INIT_CONTAINER, PATHS, VOLUMES } from './names.ts';
import { places } from './pod.ts';
import type { PodSpec, Resources, Volume } from './pod.ts';

interface Strategy {
  readonly volume: (delivery: Delivery) => Volume;
  /** Fills the volume before any other container runs. */
  readonly init?: (delivery: Delivery, spec: PodSpec) => Readonly<Record<string, unknown>>;
}

/** Both objects of one architecture are some 250 KiB. */
const LIBRARY_LIMIT = '8Mi';
/** What a copy of 250 KiB needs at most. */
const INIT_RESOURCES = { cpu: '50m', memory: '32Mi' } as const;
/** Any user but root can write into an emptyDir. */
const USER = 65_532;

export const STRATEGIES: Readonly<Record<Delivery['kind'], Strategy>> = {
  image: {
    volume: (delivery) => ({
      name: VOLUMES.library,
      image: { reference: delivery.image, ...(delivery.pullPolicy ? { pullPolicy: delivery.pullPolicy } : {}) },
    }),
  },
  init: {
    // In memory: where a hardened node mounts its disks noexec, objects on them could not be mapped.
    volume: () => ({ name: VOLUMES.library, emptyDir: { medium: 'Memory', sizeLimit: LIBRARY_LIMIT } }),
    init: initContainer,
  },
};

/** Which way the pod has been given before, if any; `foreign`: the name is taken by something else. */
export function deliveredBy(volume: Volume | undefined): Delivery['kind'] | 'foreign' | undefined {
  if (volume === undefined) return undefined;
  if (volume.image !== undefined) return 'image';
  return volume.emptyDir === undefined ? 'foreign' : 'init';
}

function initContainer(delivery: Delivery, spec: PodSpec): Readonly<Record<string, unknown>> {
  const user = spec.securityContext?.runAsUser;
  return {
    name: INIT_CONTAINER,
    image: delivery.image,
    ...(delivery.pullPolicy ? { imagePullPolicy: delivery.pullPolicy } : {}),
    args: [PATHS.library],
    resources: initResources(spec),
    securityContext: {
      allowPrivilegeEscalation: false,
      capabilities: { drop: ['ALL'] },
      readOnlyRootFilesystem: true,
      runAsNonRoot: true,
      // The image names a user of its own; only where the pod says root this would not start. Whoever assigns users by namespace
      // (OpenShift's ranges) refuses one that is stated.
      ...(user === 0 ? { runAsUser: USER } : {}),
      seccompProfile: { type: 'RuntimeDefault' },
    },
    volumeMounts: [{ name: VOLUMES.library, mountPath: PATHS.library }],
  };
}

/** Of what bears our names and brings another image than ours, for people. A mirror has it under another address, by the same name. */
export function strangeImages({ volumes, initContainers }: PodSpec, image: string): string[] {
  const library = volumes?.find(({ name }) => name === VOLUMES.library)?.image?.['reference'];
  const installer = initContainers?.find(({ name }) => name === INIT_CONTAINER)?.image;
  return [
    [`volume ${VOLUMES.library}`, library],
    [`init container ${INIT_CONTAINER}`, installer],
  ].flatMap(([what, there]) =>
    typeof there !== 'string' || repositoryOf(there) === repositoryOf(image)
      ? []
      : [
          `${String(what)} was there before, with an image that is not Penstock's: nothing says that it holds the limit`,
        ],
  );
}

/** Its last name: `vram` of `registry:5000/penstock/vram:1@sha256:…`. */
function repositoryOf(image: string): string | undefined {
  return parseImage(image).parts.at(-1);
}

/**
 * Of CPU and memory what a copy needs, or what of that is within what the pod's containers ask for: so it is within a LimitRange that
 * they are within, and requests that are limits leave the pod its quality of service. Of what no container asks for, nothing; nor where the
 * pod asks as a whole (KEP-2837), as then all of its containers are within that.
 */
function initResources(spec: PodSpec): Resources {
  const stated: Record<string, string> = {};
  if (spec.resources !== undefined) return stated;
  for (const [name, enough] of Object.entries(INIT_RESOURCES)) {
    const asked = askedOf(spec, name);
    const [smallest, largest] = [asked[0], asked.at(-1)];
    if (smallest === undefined || largest === undefined) continue;
    const value = parseQuantity(enough) ?? 0;
    stated[name] = smallest.value > value ? smallest.text : largest.value < value ? largest.text : enough;
  }
  return Object.keys(stated).length > 0 ? { limits: stated, requests: stated } : {};
}

/** What the containers ask for of a resource, the smallest first. */
function askedOf(spec: PodSpec, resource: string): { readonly text: string; readonly value: number }[] {
  return places(spec)
    .flatMap(({ container: { resources } }) => {
      const text = resources?.requests?.[resource] ?? resources?.limits?.[resource];
      const value = parseQuantity(text);
      return value === undefined ? [] : [{ text: String(text), value }];
    })
    .sort((a, b) => a.value - b.value);
}
