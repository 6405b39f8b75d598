// SPDX-License-Identifier: Apache-2.0
import { inject } from 'vitest';
import type { KubeAddress } from './apiserver.ts';
import './servers.ts';

/** The API server of this run, for tests of project `integration`. */
export function sharedKube(): KubeAddress {
  const { kube } = inject('servers');
  if (!kube)
    throw new Error(
      'only project `integration` has an API server; move the test to test/integration, or use startApiServer()',
    );
  return kube;
}
