// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { createKubeClient } from '#kube/client.ts';
import type { KubeClient } from '#kube/client.ts';
import { PooledKubeConfig } from '#kube/pooled-config.ts';
import { JOBS, PODS, SECRETS } from '#kube/resource.ts';
import { createTransport } from '#kube/transport.ts';
import type { KubeObject } from '#kube/types.ts';
import { unitJob, unitSecret } from '#operator/units/job.ts';
import { PLAN_CASES, SETTINGS } from '#operator/units/testing.ts';
import { startApiServer } from '#test/servers/apiserver.ts';
import type { ApiServer } from '#test/servers/apiserver.ts';
import { SERVICE_ACCOUNTS, aNamespace } from './kube-fixture.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

let api: ApiServer;
let client: KubeClient;
let namespace: string;

/** A namespace that enforces PodSecurity `restricted`: a pod that is less is refused with 403. */
beforeAll(async () => {
  api = await startApiServer();
  client = createKubeClient(createTransport(PooledKubeConfig.load(api.kubeconfig)));
  namespace = await aNamespace(client, 'restricted');
  await api.kube('label', 'namespace', namespace, 'pod-security.kubernetes.io/enforce=restricted');
  for (const name of ['default', 'penstock-operator']) {
    await client.create(SERVICE_ACCOUNTS, { metadata: { namespace, name } });
  }
  const nvidia = { metadata: { name: 'nvidia' }, handler: 'nvidia' };
  const classes = {
    group: 'node.k8s.io',
    version: 'v1',
    kind: 'RuntimeClass',
    plural: 'runtimeclasses',
    namespaced: false,
  };
  await client.create(classes, nvidia);
});
afterAll(async () => {
  await client.close();
  await api.stop();
});

function dryRunPod(spec: object): Promise<KubeObject> {
  const pod = { metadata: { namespace, name: 'dry-run' }, spec };
  return client.create<KubeObject>(PODS, pod, { dryRun: true });
}

describe('the Job of a unit', () => {
  it.each(Object.entries(PLAN_CASES))('is taken by the API server as it is: %s', async (_name, { plan, placement }) => {
    const job = unitJob(plan, placement, SETTINGS);
    const made = await client.create(
      { ...JOBS },
      { ...job, metadata: { ...job.metadata, namespace } },
      { dryRun: true },
    );
    // Nothing was dropped: what we ask for is there, under the defaults that the server adds.
    expect(made.spec).toMatchObject(withQuantities(job.spec));
    expect(made.metadata.labels).toMatchObject(job.metadata.labels ?? {});
  });

  it.each(Object.entries(PLAN_CASES))(
    'makes pods that PodSecurity restricted lets in: %s',
    async (_name, { plan, placement }) => {
      const { spec } = unitJob(plan, placement, SETTINGS).spec.template;
      const pod = await dryRunPod(spec);
      expect(pod.metadata.uid).toBeDefined();
    },
  );

  it('would be refused there with a pod that may be root', async () => {
    const { plan, placement } = PLAN_CASES['handler-plain']!;
    const { spec } = unitJob(plan, placement, SETTINGS).spec.template;
    await expect(dryRunPod({ ...spec, securityContext: {} })).rejects.toThrow(/violates PodSecurity/);
  });

  it('comes with a Secret that the API server takes', async () => {
    const { plan, placement } = PLAN_CASES['handler-plain']!;
    const job = unitJob(plan, placement, SETTINGS);
    const secret = unitSecret({ ...job, metadata: { ...job.metadata, namespace, uid: 'a-uid' } }, 'token');
    const made = await client.create<KubeObject>(SECRETS, secret, { dryRun: true });
    expect(made.metadata.ownerReferences?.[0]?.kind).toBe('Job');
  });
});

describe.each(['operator', 'gateway'])('the Deployment of the %s', (program) => {
  it('makes pods that PodSecurity restricted lets in, whose settings no Service can change', async () => {
    const [document] = parseAllDocuments(readFileSync(`${root}/config/${program}/deployment.yaml`, 'utf8'));
    const deployment = document?.toJS() as { spec: { replicas: number; template: { spec: object } } };
    const pod = await dryRunPod(deployment.spec.template.spec);
    expect(pod.metadata.uid).toBeDefined();
    expect(pod).toMatchObject({ spec: { enableServiceLinks: false } });
    expect(deployment.spec.replicas).toBe(2);
  });
});

/** The API server answers quantities as strings. */
function withQuantities(spec: object): object {
  return JSON.parse(JSON.stringify(spec), (key, value: unknown) =>
    key === 'limits' || key === 'requests'
      ? Object.fromEntries(Object.entries(value as object).map(([name, quantity]) => [name, String(quantity)]))
      : value,
  ) as object;
}
