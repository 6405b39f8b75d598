// SPDX-License-Identifier: Apache-2.0
// The node's one card, split into slots by a device plugin, and everybody who shares it.
import { afterAll, beforeAll, describe } from 'vitest';
import { loadCudaImages } from './cuda-image.ts';
import { gpuDocsSuite } from './gpu-docs.suite.ts';
import type { Installation } from './installation.ts';
import { shareGpu, type SharedGpu } from './shared-gpu.ts';
import { sharedAppsSuite } from './shared-apps.suite.ts';
import { SLICED } from './slice-pods.ts';
import { slicePolicySuite } from './slice-policy.suite.ts';
import { sliceShapesSuite } from './slice-shapes.suite.ts';
import { sliceSuite } from './slice.suite.ts';
import { webhookKillsSuite } from './webhook-kills.suite.ts';

export function gpuSharingSuite(penstock: () => Installation): void {
  describe('one GPU as four slots', () => {
    let gpu: SharedGpu | undefined;
    beforeAll(async () => {
      const { cluster } = penstock();
      await loadCudaImages(cluster);
      await cluster.kube('create', 'namespace', SLICED);
      await cluster.kube('label', 'namespace', SLICED, 'pod-security.kubernetes.io/enforce=restricted');
      await cluster.cluster('gpus', '0'); // whole ones that an earlier suite said there are
      gpu = await shareGpu(cluster);
    });
    afterAll(async () => {
      await gpu?.stop();
    });

    sliceSuite(penstock);
    sliceShapesSuite(penstock);
    slicePolicySuite(penstock);
    sharedAppsSuite(penstock);
    gpuDocsSuite(penstock);
    webhookKillsSuite(penstock);
  });
}
