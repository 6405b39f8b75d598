// SPDX-License-Identifier: Apache-2.0
// The ways by which the preloaded objects come into a pod: one row each. All of them give the volume that containers mount.
import type { Delivery } from './context.ts';
import { INIT_CONTAINER, PATHS, VOLUMES } from './names.ts';
import type { PodSpec, Volume } from './pod.ts';

interface Strategy {
  readonly volume: (delivery: Delivery) => Volume;
  /** Fills the volume before any other container runs. */
  readonly init?: (delivery: Delivery, spec: PodSpec) => Readonly<Record<string, unknown>>;
}

/** Both objects of one architecture are some 250 KiB. */
const LIBRARY_LIMIT = '8Mi';
/** Requests are limits, so that a pod keeps its quality of service; a copy of 250 KiB needs neither. */
const INIT_RESOURCES = { cpu: '50m', memory: '32Mi' };
/** Any user but root can write into an emptyDir; used where the pod does not name one itself. */
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
    resources: { limits: INIT_RESOURCES, requests: INIT_RESOURCES },
    securityContext: {
      allowPrivilegeEscalation: false,
      capabilities: { drop: ['ALL'] },
      readOnlyRootFilesystem: true,
      runAsNonRoot: true,
      // A pod that runs as root must not make this one root: it would not start.
      ...(user === undefined || user === 0 ? { runAsUser: USER } : {}),
      seccompProfile: { type: 'RuntimeDefault' },
    },
    volumeMounts: [{ name: VOLUMES.library, mountPath: PATHS.library }],
  };
}
