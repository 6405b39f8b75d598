// SPDX-License-Identifier: Apache-2.0
import type { InferenceAppGpu } from '#crds/inference-app.gen.ts';
import { GPU, SLICE_ANNOTATIONS } from '#crds/names.ts';

/**
 * What the pod of a unit says of its slice; the admission server makes one of it. Whole GPUs and MIG instances that were asked for by
 * name opt out, so that no policy of the cluster makes something else of them.
 */
export function sliceAnnotations(gpu: InferenceAppGpu | undefined): Record<string, string> {
  const slice = gpu?.slice;
  if (slice === undefined) return {};
  if (slice.mode !== 'Shared') return { [SLICE_ANNOTATIONS.slice]: 'false' };
  return {
    [SLICE_ANNOTATIONS.slice]: 'true',
    ...(slice.slots === undefined ? {} : { [SLICE_ANNOTATIONS.ratio]: String(slice.slots) }),
    ...(slice.memory === undefined ? {} : { [SLICE_ANNOTATIONS.vram]: String(slice.memory) }),
  };
}

/** The extended resource that a unit asks for: a MIG instance is named by its profile, everything else starts as whole GPUs. */
export function gpuResource({ slice }: InferenceAppGpu): string {
  return slice?.profile === undefined ? GPU.resource : `${GPU.migPrefix}${slice.profile}`;
}
