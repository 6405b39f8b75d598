// SPDX-License-Identifier: Apache-2.0
// A replica that finds every certificate due for renewal, and dies by kill -9 right after one of its writes has reached the API server.
// Arguments: kubeconfig, namespace, service, and which write: `empty` (the Secret, before it is filled), `secret`, `bundle` (the first).
import { createEventRecorder } from '#kube/events.ts';
import type { KubeClient } from '#kube/client.ts';
import { createServingCertificate } from '#webhook/certs/serving-certificate.ts';
import { aFixture } from './kube-fixture.ts';

const [kubeconfig = '', namespace = '', service = '', point = ''] = process.argv.slice(2);
const YEAR_MS = 365 * 24 * 3_600_000;

const fixture = aFixture(kubeconfig);
const dying = (write: string): void => {
  if (write === point) process.kill(process.pid, 'SIGKILL');
};
const { client } = fixture;
const mortal: KubeClient = {
  ...client,
  apply: async (...args) => {
    const object = await client.apply(...args);
    dying('empty');
    return object as never;
  },
  replace: async (...args) => {
    const object = await client.replace(...args);
    dying('secret');
    // Another replica may write the bundles first; then this one has none to write.
    setTimeout(() => dying('bundle'), 3_000);
    return object;
  },
  patch: async (...args) => {
    const object = await client.patch(...args);
    dying('bundle');
    return object as never;
  },
};
const events = createEventRecorder({ ...fixture, controller: 'penstock.dev/webhook', instance: 'mortal' });
// Longer lives than anybody else's certificate has left, so that it has to make a new CA.
const times = { authorityMs: 40 * YEAR_MS, leafMs: 30 * YEAR_MS, lookaheadMs: 20 * YEAR_MS };
createServingCertificate({ ...fixture, client: mortal, mode: 'self', namespace, service, events, times }).start();
