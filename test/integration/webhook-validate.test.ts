// SPDX-License-Identifier: Apache-2.0
// Penstock's own objects under a real API server that asks the admission server's process, by users with and without rights.
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { OBJECTS } from '#crds/names.ts';
import { until } from '../until.ts';
import { TEAM, webhookCluster } from './webhook.harness.ts';
import type { WebhookCluster } from './webhook.harness.ts';

type Json = Readonly<Record<string, unknown>>;

interface Said {
  readonly ok: boolean;
  /** Warnings, and what was refused. */
  readonly text: string;
}

/** May make apps and nothing else. */
const ALICE = ['--as=alice', '--as-group=system:authenticated'];
/** By a group and nothing else, as people often are. */
const BOB = ['--as=bob', '--as-group=makers', '--as-group=system:authenticated'];
const run = promisify(execFile);
const unique = (): string => `v-${randomBytes(6).toString('hex')}`;

let cluster: WebhookCluster;

async function kubectl(args: readonly string[], input: unknown = ''): Promise<Said> {
  const { kubectl: binary, kubeconfig } = cluster.api;
  const call = run(binary, ['--kubeconfig', kubeconfig, ...args]);
  call.child.stdin?.end(typeof input === 'string' ? input : JSON.stringify(input));
  return call.then(
    ({ stderr }) => ({ ok: true, text: stderr }),
    (err: { stderr: string }) => ({ ok: false, text: err.stderr }),
  );
}

const must = async (said: Promise<Said>): Promise<void> => {
  const { ok, text } = await said;
  if (!ok) throw new Error(text);
};
const apply = (object: unknown, as: readonly string[] = []): Promise<Said> =>
  kubectl(['apply', '-f', '-', ...as], object);
const tried = (object: unknown, as: readonly string[] = []): Promise<Said> =>
  kubectl(['create', '--dry-run=server', '-f', '-', ...as], object);
const patch = (name: string, spec: Json, as: readonly string[] = []): Promise<Said> =>
  kubectl(['patch', 'iapp', '-n', TEAM, name, '--type=merge', '-p', JSON.stringify({ spec }), ...as]);

const WORKER = { archetype: 'Handler', handler: 'a.ts', image: 'ghcr.io/team/a:1' };
const anApp = (worker: Json = {}, spec: Json = {}, name = unique()): Json => ({
  apiVersion: 'penstock.dev/v1alpha1',
  kind: 'InferenceApp',
  metadata: { namespace: TEAM, name },
  spec: { worker: { ...WORKER, ...worker }, resources: { memory: '1Gi' }, placements: [{ name: 'pool' }], ...spec },
});
const aPlacement = (name: string, spec: Json = {}): Json => ({
  apiVersion: 'penstock.dev/v1alpha1',
  kind: 'Placement',
  metadata: { name },
  spec: { kubernetes: {}, allowedNamespaces: [TEAM], ...spec },
});
const configMap = (name: string, key: string, text: string): Json => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { namespace: OBJECTS.systemNamespace, name },
  data: { [key]: text },
});
const nameOf = (object: Json): string => (object['metadata'] as { name: string }).name;
const template = (pod: Json): Json => ({ podTemplate: { spec: pod } });
const SECRET = { envFrom: [{ secretRef: { name: 'keys' } }] };

const role = (name: string, rules: readonly Json[], subject: Json): Json[] => [
  { apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'Role', metadata: { namespace: TEAM, name }, rules },
  {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'RoleBinding',
    metadata: { namespace: TEAM, name },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name },
    subjects: [{ apiGroup: 'rbac.authorization.k8s.io', ...subject }],
  },
];
const APPS = { apiGroups: ['penstock.dev'], resources: ['inferenceapps'], verbs: ['*'] };
const PODS = { apiGroups: [''], resources: ['pods'], verbs: ['create'] };

beforeAll(async () => {
  cluster = await webhookCluster();
  const webhook = await cluster.replica();
  cluster.proxy.point(webhook.port);
  const items = [
    ...role('apps', [APPS], { kind: 'User', name: 'alice' }),
    ...role('makers', [APPS, PODS], { kind: 'Group', name: 'makers' }),
  ];
  await must(apply({ apiVersion: 'v1', kind: 'List', items }));
  // The API server learns of the CA by a watch of its own.
  await until(async () => (await apply(aPlacement('pool'))).ok, {
    what: 'an API server that calls',
    timeoutMs: 30_000,
  });
});
afterAll(() => cluster.stop());

describe('an app', () => {
  it('that is fine is taken in silence, also with a pod template', async () => {
    expect(await apply(anApp())).toEqual({ ok: true, text: '' });
    const scratch = {
      volumes: [{ name: 'scratch', emptyDir: {} }],
      initContainers: [
        { name: 'fetch', image: 'ghcr.io/team/fetch:1', volumeMounts: [{ name: 'scratch', mountPath: '/s' }] },
      ],
      containers: [{ name: 'worker', volumeMounts: [{ name: 'scratch', mountPath: '/s' }] }],
    };
    expect(await apply(anApp(template(scratch)))).toEqual({ ok: true, text: '' });
  });

  it.each<[string, Json, string]>([
    ['a host path', { volumes: [{ name: 'a', hostPath: { path: '/' } }] }, 'volumes[0].hostPath: may not be specified'],
    ['the network of the node', { hostNetwork: true }, 'hostNetwork: must be false'],
    [
      'a privileged helper',
      { initContainers: [{ name: 'a', image: 'a:1', securityContext: { privileged: true } }] },
      'initContainers[0].securityContext.privileged: must be false',
    ],
    [
      'a helper that shows itself GPUs',
      { initContainers: [{ name: 'a', image: 'a:1', env: [{ name: 'NVIDIA_VISIBLE_DEVICES', value: 'all' }] }] },
      'initContainers[0].env[0].name: must not be NVIDIA_VISIBLE_DEVICES unless',
    ],
    ['a misspelt field', { hostNetwrk: true }, 'hostNetwrk: is not a field that may be set here (did you mean'],
    // From here on only the API server knows.
    [
      'a field within a field that it does not know',
      { dnsConfig: { serches: ['a'] } },
      'dnsConfig.serches: is not a field that this cluster knows',
    ],
    ['a word for a truth value', { hostUsers: 'yes' }, 'hostUsers: must be of type bool, not string'],
    [
      'a volume of two kinds',
      { volumes: [{ name: 'a', emptyDir: {}, configMap: { name: 'a' } }] },
      'volumes[0].configMap: Forbidden: may not specify more than 1 volume type',
    ],
    [
      'a mount of no volume',
      { containers: [{ name: 'worker', volumeMounts: [{ name: 'a', mountPath: '/a' }] }] },
      'containers[0].volumeMounts[0].name: Not found: "a"',
    ],
    [
      'a mount where another is',
      {
        volumes: [{ name: 'a', emptyDir: {} }],
        containers: [{ name: 'worker', volumeMounts: [{ name: 'a', mountPath: '/tmp' }] }],
      },
      'must be unique',
    ],
    [
      'a helper without an image',
      { initContainers: [{ name: 'a' }, { name: 'b', image: 'b' }] },
      'initContainers[0].image: Required value',
    ],
  ])('with %s in its pod template is refused by the field', async (_what, pod, text) => {
    const said = await tried(anApp(template(pod)));
    expect(said.ok).toBe(false);
    expect(said.text).toContain('is invalid: spec.worker.podTemplate.spec.');
    expect(said.text).toContain(text);
  });

  it('shows what is unwise', async () => {
    const said = await tried(anApp({ image: 'ghcr.io/team/a' }, { resources: {}, placements: [{ name: 'nowhere' }] }));
    expect(said.ok).toBe(true);
    expect(said.text).toContain('Warning: spec.worker.image: ghcr.io/team/a may mean another image tomorrow');
    expect(said.text).toContain('Warning: spec.resources.memory: ');
    expect(said.text).toContain('Warning: spec.placements[0].name: there is no placement nowhere (yet)');
  });

  it('is refused where it may not run', async () => {
    await must(apply(aPlacement('others', { allowedNamespaces: ['default'] })));
    const app = anApp({}, { placements: [{ name: 'pool' }, { name: 'others' }] });
    await until(async () => !(await tried(app)).ok, { what: 'a placement that was seen' });
    expect((await tried(app)).text).toContain(
      'spec.placements[1].name: placement others does not allow namespace team',
    );
  });
});

describe('one apply', () => {
  it('opens a placement and uses it at once, again and again', async () => {
    const closed = aPlacement('turnstile', { allowedNamespaces: ['default'] });
    const app = anApp({}, { placements: [{ name: 'turnstile' }] });
    for (let round = 0; round < 3; round++) {
      await must(apply(closed));
      await until(async () => !(await tried(app)).ok, { what: 'a placement that is closed' });
      const items = [aPlacement('turnstile'), anApp({}, { placements: [{ name: 'turnstile' }] })];
      expect(await apply({ apiVersion: 'v1', kind: 'List', items })).toEqual({ ok: true, text: '' });
    }
  });
});

describe('who uses what is in a namespace', () => {
  it('must be somebody who may create pods there', async () => {
    expect((await tried(anApp(SECRET), BOB)).text).toBe('');
    const said = await tried(anApp(SECRET), ALICE);
    expect(said.ok).toBe(false);
    expect(said.text).toContain('is forbidden: spec.worker.envFrom[0].secretRef: Secret "keys" may not be used');
    expect(said.text).toContain('user "alice" may not create pods in namespace team');
    expect(await tried(anApp(), ALICE)).toEqual({ ok: true, text: '' });
  });

  it.each<[string, Json]>([
    ['a service account', { serviceAccountName: 'robot' }],
    ['a volume', { volumes: [{ name: 'a', projected: { sources: [] } }] }],
    ['a pull secret', { imagePullSecrets: [{ name: 'a' }] }],
    ['an environment', { initContainers: [{ name: 'a', image: 'a:1', envFrom: [{ configMapRef: { name: 'a' } }] }] }],
    [
      'pods of other namespaces in an affinity',
      {
        affinity: {
          podAntiAffinity: {
            requiredDuringSchedulingIgnoredDuringExecution: [{ topologyKey: 'a', namespaceSelector: {} }],
          },
        },
      },
    ],
  ])('as to %s of a pod template, too', async (_what, pod) => {
    expect((await tried(anApp(template(pod)), BOB)).ok).toBe(true);
    expect((await tried(anApp(template(pod)), ALICE)).text).toContain('is forbidden: spec.worker.podTemplate.spec.');
  });

  it('or change what reads it, but not its scale', async () => {
    const app = anApp(SECRET);
    await must(apply(app, BOB));
    const name = nameOf(app);
    expect((await patch(name, { scaling: { maxUnits: 2 } }, ALICE)).ok).toBe(true);
    expect((await patch(name, { worker: { image: 'ghcr.io/team/thief:1' } }, ALICE)).text).toContain('is forbidden');
    expect((await patch(name, { worker: { image: 'ghcr.io/team/a:2' } }, BOB)).ok).toBe(true);
    await must(kubectl(['delete', 'iapp', '-n', TEAM, name, ...ALICE]));
  });
});

describe('labels and annotations of pods', () => {
  it.each(['labels', 'annotations'])('are for those who may create pods: %s', async (key) => {
    const app = anApp({ podTemplate: { metadata: { [key]: { app: 'shop' } } } });
    expect((await tried(app, BOB)).ok).toBe(true);
    const said = await tried(app, ALICE);
    expect(said.text).toContain(
      `is forbidden: spec.worker.podTemplate.metadata.${key}: ${key} of a pod may not be used`,
    );
  });

  it('are not those by which a Job finds its pods', async () => {
    const labels = { 'batch.kubernetes.io/controller-uid': 'mine' };
    const said = await tried(anApp({ podTemplate: { metadata: { labels } } }));
    expect(said.text).toContain(
      'spec.worker.podTemplate.metadata.labels[batch.kubernetes.io/controller-uid]: Invalid value',
    );
  });
});

describe('a list of images', () => {
  const write = (text: string): Promise<void> =>
    must(apply(configMap(OBJECTS.admissionConfigMap, 'images.yaml', text)));
  const evil = { image: 'docker.io/evil/a:1' };

  it('is in force as soon as it is there, until it is gone, and a broken edit does not change that', async () => {
    const before = anApp(evil);
    await must(apply(before));
    await write('version: 1\nrules: [{ namespaces: ["te*"], images: [ghcr.io/team/**] }]');
    await until(async () => !(await tried(anApp(evil))).ok, { what: 'images that are refused' });
    expect((await tried(anApp(evil))).text).toContain(
      'spec.worker.image: docker.io/evil/a:1 is not allowed in namespace team: allowed are ghcr.io/team/**',
    );
    expect((await tried(anApp())).ok).toBe(true);

    await write('version: 1\nrules: []\nrulez: []');
    const events = async (): Promise<string> =>
      cluster.api.kube('get', 'events', '-n', OBJECTS.systemNamespace, '-o', 'jsonpath={.items[*].message}');
    await until(async () => (await events()).includes('unknown field rulez'), { what: 'an Event' });
    expect((await tried(anApp(evil))).ok).toBe(false);

    // What was there before may change, but not to another image that is not allowed; and it may go.
    const name = nameOf(before);
    expect((await patch(name, { scaling: { maxUnits: 3 } })).ok).toBe(true);
    expect((await patch(name, { worker: { image: 'docker.io/evil/b:1' } })).ok).toBe(false);
    expect((await kubectl(['label', 'iapp', '-n', TEAM, name, 'a=b'])).ok).toBe(true);
    await must(kubectl(['delete', 'iapp', '-n', TEAM, name]));

    await must(kubectl(['delete', 'configmap', '-n', OBJECTS.systemNamespace, OBJECTS.admissionConfigMap]));
    await until(async () => (await tried(anApp(evil))).ok, { what: 'images that are allowed again' });
  });
});

describe('ceilings of tenants', () => {
  it('hold for the apps of their namespace', async () => {
    const text = `tenants: [{ name: a, namespace: ${TEAM}, ceilings: { maxUnits: 4, gpusPerUnit: 2 } }]`;
    await must(apply(configMap(OBJECTS.tenantsConfigMap, 'tenants.yaml', text)));
    const large = anApp({}, { scaling: { maxUnits: 5 }, resources: { memory: '1Gi', gpu: { count: 3 } } });
    await until(async () => !(await tried(large)).ok, { what: 'ceilings in force' });
    const said = await tried(large);
    expect(said.text).toContain('spec.scaling.maxUnits: must be at most 4 for an app in namespace team');
    expect(said.text).toContain('spec.resources.gpu.count: must be at most 2 for an app in namespace team');
    expect((await tried(anApp({}, { scaling: { maxUnits: 4 } }))).ok).toBe(true);
    await must(kubectl(['delete', 'configmap', '-n', OBJECTS.systemNamespace, OBJECTS.tenantsConfigMap]));
  });
});

describe('a placement', () => {
  it('may not promise slots that are larger than the cards of its nodes', async () => {
    const sharing = { mode: 'TimeSlicing', resourceName: 'nvidia.com/gpu.shared', slotsPerGPU: 4 };
    expect(await tried(aPlacement('fits', { sharing: { ...sharing, memoryPerSlot: '20Gi' } }))).toEqual({
      ok: true,
      text: '',
    });
    const said = await tried(aPlacement('large', { sharing: { ...sharing, memoryPerSlot: '40Gi' } }));
    expect(said.text).toContain('spec.sharing.memoryPerSlot: 4 slots of 40Gi are more than a card of node gpu has');
  });

  it('is told what its nodes really share, and which namespaces there are', async () => {
    const sharing = { mode: 'TimeSlicing', resourceName: 'nvidia.com/other', slotsPerGPU: 8 };
    const said = await tried(aPlacement('other', { sharing, allowedNamespaces: [TEAM, 'nobody'] }));
    expect(said.ok).toBe(true);
    expect(said.text).toContain('Warning: spec.allowedNamespaces[1]: there is no namespace nobody (yet)');
    expect(said.text).toContain(
      'no node of this placement advertises nvidia.com/other; there is nvidia.com/gpu.shared',
    );
  });
});
