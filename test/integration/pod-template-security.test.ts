// SPDX-License-Identifier: Apache-2.0
// The judge of what a pod template may hold is PodSecurity itself: whatever our checks let through is a pod that a real API server takes in
// a `restricted` namespace.
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { InferenceApp } from '#crds/inference-app.gen.ts';
import { podTemplateErrors } from '#crds/pod-template.ts';
import { KubeError } from '#kube/errors.ts';
import { NAMESPACES, PODS } from '#kube/resource.ts';
import type { Resource } from '#kube/resource.ts';
import type { KubeObject } from '#kube/types.ts';
import { unitJob } from '#operator/units/job.ts';
import { PLAN_CASES, SETTINGS } from '#operator/units/testing.ts';
import { sharedKube } from '../servers/kube.ts';
import { aFixture } from './kube-fixture.ts';
import type { Fixture } from './kube-fixture.ts';

type Json = Readonly<Record<string, unknown>>;

const NAMESPACE = 'pod-template-security';
const ACCOUNTS: Resource = {
  group: '',
  version: 'v1',
  kind: 'ServiceAccount',
  plural: 'serviceaccounts',
  namespaced: true,
};
const STRICT = { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } };
const SEED = 20_261_121;
const RUNS = 400;

let kube: Fixture;

beforeAll(async () => {
  kube = aFixture(sharedKube().kubeconfig);
  const labels = { 'pod-security.kubernetes.io/enforce': 'restricted' };
  await kube.client.create(NAMESPACES, { metadata: { name: NAMESPACE, labels } });
  // There is no controller that would make it.
  await kube.client.create(ACCOUNTS, { metadata: { namespace: NAMESPACE, name: 'default' } });
});
afterAll(async () => {
  await kube.client.delete(NAMESPACES, { name: NAMESPACE });
  await kube.client.close();
});

/** A member with one of its values, or not there at all. */
const maybe = (key: string, ...values: readonly unknown[]): fc.Arbitrary<Json> =>
  fc.oneof(
    { arbitrary: fc.constant({}), weight: values.length * 2 },
    fc.constantFrom(...values.map((value) => ({ [key]: value }))),
  );
const all = (...members: readonly fc.Arbitrary<Json>[]): fc.Arbitrary<Json> =>
  fc.tuple(...members).map((parts) => Object.assign({}, ...parts) as Json);

const securityContext = (...more: readonly fc.Arbitrary<Json>[]): fc.Arbitrary<Json> =>
  all(
    maybe('runAsUser', 1000, 0),
    maybe('runAsNonRoot', true, false),
    maybe(
      'seccompProfile',
      { type: 'RuntimeDefault' },
      { type: 'Localhost', localhostProfile: 'a.json' },
      { type: 'Unconfined' },
    ),
    maybe('appArmorProfile', { type: 'RuntimeDefault' }, { type: 'Unconfined' }),
    maybe('seLinuxOptions', { level: 's0:c1' }, { type: 'container_t' }, { type: 'spc_t' }, { user: 'system_u' }),
    ...more,
  );
const container = securityContext(
  maybe('privileged', false, true),
  maybe('allowPrivilegeEscalation', false, true),
  maybe('procMount', 'Default', 'Unmasked'),
  maybe('readOnlyRootFilesystem', true),
  maybe('capabilities', { drop: ['ALL'] }, { add: ['NET_BIND_SERVICE'] }, { add: ['SYS_PTRACE'] }, { drop: [] }),
);
const pod = securityContext(
  maybe('fsGroup', 1000),
  maybe('sysctls', [{ name: 'net.ipv4.tcp_syncookies', value: '1' }], [{ name: 'kernel.msgmax', value: '1' }]),
);
const PORTS = [[{ containerPort: 8080 }], [{ containerPort: 8080, hostPort: 8080 }]];
const HOOKS = [{ preStop: { httpGet: { port: 80 } } }, { preStop: { httpGet: { port: 80, host: '10.0.0.1' } } }];
const helper = all(
  container.map((context) => ({ name: 'helper', image: 'helper:1', securityContext: context })),
  maybe('restartPolicy', 'Always'),
  maybe('ports', ...PORTS),
);
const worker = all(
  container.map((context) => ({ name: 'worker', securityContext: context })),
  maybe('lifecycle', ...HOOKS),
  maybe('ports', ...PORTS),
);
const VOLUMES = [
  { emptyDir: {} },
  { secret: { secretName: 'a' } },
  { hostPath: { path: '/' } },
  { gcePersistentDisk: { pdName: 'a' } },
];
const spec = all(
  maybe('hostNetwork', false, true),
  maybe('hostPID', true),
  maybe('hostIPC', true),
  maybe('shareProcessNamespace', false, true),
  maybe('volumes', ...VOLUMES.map((source) => [{ name: 'volume', ...source }])),
  fc.oneof(
    fc.constant({}),
    pod.map((context) => ({ securityContext: context })),
  ),
  fc.oneof(
    fc.constant({}),
    helper.map((item) => ({ initContainers: [item] })),
  ),
  fc.oneof(
    fc.constant({}),
    worker.map((item) => ({ containers: [item] })),
  ),
);

/** The unit's pod as the operator makes it, template and all. */
function unitPod(template: Json): KubeObject {
  const { plan, placement } = PLAN_CASES['handler-plain']!;
  const { metadata, spec: own } = plan.app;
  const app = {
    ...plan.app,
    metadata,
    spec: { ...own, worker: { ...own.worker, podTemplate: template } },
  } as InferenceApp;
  const { template: made } = unitJob({ ...plan, app }, placement, SETTINGS).spec;
  const { labels = {}, annotations = {} } = made.metadata;
  return { metadata: { namespace: NAMESPACE, name: 'unit', labels, annotations }, spec: made.spec } as KubeObject;
}

/** What PodSecurity or the pod's validation says against it. */
async function refusal(template: Json): Promise<string | undefined> {
  try {
    await kube.client.create(PODS, unitPod(template), { dryRun: true });
    return undefined;
  } catch (err) {
    if (err instanceof KubeError && [403, 422].includes(err.status)) return err.message;
    throw err;
  }
}

it('whatever the checks let through is accepted in a restricted namespace', { timeout: 120_000 }, async () => {
  const templates = fc.sample(spec, { seed: SEED, numRuns: RUNS }).map((made) => ({ spec: made }));
  const passed = templates.filter((template) => podTemplateErrors(template, 'Handler').length === 0);
  // Both kinds are there in numbers, or the test would say nothing.
  expect(passed.length).toBeGreaterThan(RUNS / 20);
  expect(templates.length - passed.length).toBeGreaterThan(RUNS / 20);
  const wrong: string[] = [];
  const queue = passed.values();
  const ask = async (): Promise<void> => {
    for (const template of queue) {
      const said = await refusal(template);
      if (said !== undefined) wrong.push(`${JSON.stringify(template)}: ${said}`);
    }
  };
  await Promise.all(Array.from({ length: 8 }, ask));
  expect(wrong).toEqual([]);
});

// One harmful value at a time: PodSecurity names it in a pod that is otherwise fine, and so do the checks in a template.
it.each<[string, Json, RegExp]>([
  ['the network of the node', { hostNetwork: true }, /host namespaces/],
  ['a host path', { volumes: [{ name: 'a', hostPath: { path: '/' } }] }, /hostPath/],
  ['root', { securityContext: { runAsUser: 0 } }, /runAsUser=0/],
  ['an unsafe sysctl', { securityContext: { sysctls: [{ name: 'kernel.msgmax', value: '1' }] } }, /forbidden sysctls/],
  ['no AppArmor', { securityContext: { appArmorProfile: { type: 'Unconfined' } } }, /forbidden AppArmor profile/],
  ['a foreign type of SELinux', { securityContext: { seLinuxOptions: { type: 'spc_t' } } }, /seLinuxOptions/],
  ['a port of the node', helping({ ports: [{ containerPort: 1, hostPort: 1 }] }), /hostPort/],
  ['a capability', helping({ securityContext: { capabilities: { add: ['SYS_ADMIN'] } } }), /capabilities/],
  ['privileges', helping({ securityContext: { privileged: true } }), /privileged/],
  ['all of /proc', { hostUsers: false, ...helping({ securityContext: { procMount: 'Unmasked' } }) }, /procMount/],
  ['another host in a hook', helping({ restartPolicy: 'Always', lifecycle: HOOKS[1] }), /probe or lifecycle host/],
])('PodSecurity and the checks agree on %s', async (_what, harmful, named) => {
  const securityContext = { ...STRICT, ...(harmful['securityContext'] as Json | undefined) };
  const spec = { ...harmful, containers: [{ name: 'main', image: 'a:1' }], securityContext };
  const pod = { metadata: { namespace: NAMESPACE, name: 'raw' }, spec } as KubeObject;
  await expect(kube.client.create(PODS, pod, { dryRun: true })).rejects.toThrow(named);
  expect(podTemplateErrors({ spec: harmful }, 'Handler')).toHaveLength(1);
});

function helping(members: Json): Json {
  return { initContainers: [{ name: 'helper', image: 'helper:1', ...members }] };
}
