// SPDX-License-Identifier: Apache-2.0
// Penstock as a person installs and uses it: deploy/overlays/local and the samples on a real node. One installation for
// all suites, in this order: the kills come last.
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { diagnosis, install, SYSTEM, type Installation } from './installation.ts';
import { deletionSuite } from './deletion.suite.ts';
import { gpuSharingSuite } from './gpu-sharing.suite.ts';
import { gpuSuite } from './gpu.suite.ts';
import { handlerSuite } from './handler.suite.ts';
import { killsSuite } from './kills.suite.ts';
import { permissionsSuite } from './permissions.suite.ts';
import { sidecarSuite } from './sidecar.suite.ts';

let installed: Installation | undefined;
const penstock = (): Installation => {
  if (installed === undefined) throw new Error('nothing is installed');
  return installed;
};

beforeAll(async () => {
  installed = await install();
  const steps = Object.entries(installed.steps).map(([what, seconds]) => `${what} ${seconds} s`);
  console.log(`installed: ${steps.join(', ')}`);
});
afterEach(async ({ task }) => {
  if (installed !== undefined && task.result?.state === 'fail') console.error(await diagnosis(installed.cluster));
});
afterAll(async () => {
  await installed?.stop();
});

test('one apply installs two operators, two gateways, two webhooks, Redis and MinIO, all ready', async () => {
  const { cluster } = penstock();
  const ready = '{range .items[*]}{.kind}/{.metadata.name} {.status.readyReplicas}{"\\n"}{end}';
  const said = await cluster.kube('-n', SYSTEM, 'get', 'deployments,statefulsets', '-o', `jsonpath=${ready}`);
  expect(said.trim().split('\n').toSorted()).toEqual([
    'Deployment/penstock-gateway 2',
    'Deployment/penstock-operator 2',
    'Deployment/penstock-webhook 2',
    'StatefulSet/penstock-minio 1',
    'StatefulSet/penstock-redis 1',
  ]);
});

handlerSuite(penstock);
sidecarSuite(penstock);
permissionsSuite(penstock);
gpuSuite(penstock);
gpuSharingSuite(penstock);
deletionSuite(penstock);
killsSuite(penstock);
