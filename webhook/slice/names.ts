// SPDX-License-Identifier: Apache-2.0
// Names inside a sliced pod. The object finds its files by their places: region and quota lie beside its own folder.
import { GROUP } from '#crds/names.ts';

const ROOT = '/penstock/vram';

/** Where things are mounted in a sliced container. */
export const PATHS = { root: ROOT, region: `${ROOT}/region`, quota: `${ROOT}/quota`, library: `${ROOT}/lib` } as const;

/** Volumes: one library for the pod; region and quota of each sliced container by number, as names of containers may be too long. */
export const VOLUMES = { library: 'penstock-vram-lib', region: 'penstock-vram-', quota: 'penstock-quota-' } as const;

/** The file in the quota's folder. */
export const QUOTA_FILE = 'limit';

export const INIT_CONTAINER = 'penstock-vram';

/** What the loader is told, in this order. */
export const PRELOADED = [`${PATHS.library}/libpenstock_vram.so`, `${PATHS.library}/libpenstock_nvml.so`] as const;

/** Holds what LD_PRELOAD was to be, where only the kubelet knows (valueFrom). */
export const FORMER_PRELOAD = `${GROUP.split('.')[0]?.toUpperCase()}_FORMER_LD_PRELOAD`;
