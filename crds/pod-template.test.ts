// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { podTemplateErrors } from './pod-template.ts';
import { validateInferenceApp } from './validate.ts';

type Template = Record<string, unknown>;

const paths = (template: Template, archetype: 'Handler' | 'Sidecar' = 'Handler'): string[] =>
  podTemplateErrors(template, archetype).map(({ path }) => path.replace('spec.worker.podTemplate', '') || '.');
const spec = (members: Template): Template => ({ spec: members });
const worker = (members: Template): Template => spec({ containers: [{ name: 'worker', ...members }] });
const helper = (members: Template): Template => spec({ initContainers: [{ name: 'helper', ...members }] });
const context = (members: Template): Template => helper({ securityContext: members });

const GOOD: readonly [string, Template][] = [
  ['nothing', {}],
  ['nothing in each part', { metadata: {}, spec: {} }],
  ['null for everything', { metadata: null, spec: { hostNetwork: null, nodeName: null, containers: null } }],
  ['labels and annotations of others', { metadata: { labels: { team: 'a' }, annotations: { 'example.com/a': 'b' } } }],
  ['a slice by another name', { metadata: { annotations: { 'castops.io/optimize': 'true' } } }],
  ['false where false is what is so', spec({ hostNetwork: false, hostPID: false, hostIPC: false })],
  ['what is so anyway', spec({ restartPolicy: 'Never', os: { name: 'linux' }, shareProcessNamespace: false })],
  ['a narrower place', spec({ nodeSelector: { zone: 'a' }, affinity: { podAntiAffinity: {} } })],
  ['users, groups and profiles of its own', spec({ securityContext: { runAsUser: 1000, fsGroup: 1000 } })],
  [
    'a profile on the node',
    spec({ securityContext: { seccompProfile: { type: 'Localhost', localhostProfile: 'a' } } }),
  ],
  ['a safe sysctl', spec({ securityContext: { sysctls: [{ name: 'net.ipv4.tcp_syncookies', value: '1' }] } })],
  ['a container type of SELinux', context({ seLinuxOptions: { type: 'container_t', level: 's0:c1' } })],
  ['the one capability that anybody may add', context({ capabilities: { drop: ['ALL'], add: ['NET_BIND_SERVICE'] } })],
  [
    'volumes of every harmless kind',
    spec({
      volumes: [
        { name: 'a', emptyDir: {} },
        { name: 'b', secret: {} },
      ],
    }),
  ],
  ['a mount and a port of the worker', worker({ volumeMounts: [{ name: 'a', mountPath: '/a' }], ports: [] })],
  ['a port of a helper', helper({ ports: [{ name: 'http', containerPort: 80, hostPort: 0 }] })],
  ['memory of a helper', helper({ resources: { limits: { memory: '1Gi' } }, restartPolicy: 'Always' })],
  ['ephemeral storage of the worker', worker({ resources: { limits: { 'ephemeral-storage': '1Gi' } } })],
  [
    'a helper that is shown no GPU, and a variable like that',
    helper({
      env: [
        { name: 'NVIDIA_VISIBLE_DEVICES', value: 'void' },
        { name: 'NVIDIA_DRIVER_CAPABILITIES', value: 'all' },
      ],
    }),
  ],
  ['a hook that asks its own pod', worker({ lifecycle: { preStop: { httpGet: { port: 80 } } } })],
];

const BAD: readonly [string, Template, string][] = [
  ['another member', { status: {} }, '.status'],
  ['metadata that is a list', { metadata: [] }, '.metadata'],
  ['spec that is a word', { spec: 'x' }, '.spec'],
  ['a name', { metadata: { name: 'x' } }, '.metadata.name'],
  ['finalizers', { metadata: { finalizers: ['a/b'] } }, '.metadata.finalizers'],
  ['a label with a space', { metadata: { labels: { 'a b': 'c' } } }, '.metadata.labels'],
  ['a label of ours', { metadata: { labels: { 'penstock.dev/unit': 'x' } } }, '.metadata.labels'],
  ['whose pod it is', { metadata: { labels: { 'app.kubernetes.io/managed-by': 'x' } } }, '.metadata.labels'],
  ['an annotation of ours', { metadata: { annotations: { 'penstock.dev/slice': 'true' } } }, '.metadata.annotations'],
  ['a quota', { metadata: { annotations: { 'a.vram.penstock.dev/quota': '1' } } }, '.metadata.annotations'],
  [
    'no AppArmor by annotation',
    { metadata: { annotations: { 'container.apparmor.security.beta.kubernetes.io/worker': 'unconfined' } } },
    '.metadata.annotations',
  ],
  ['the network of the node', spec({ hostNetwork: true }), '.spec.hostNetwork'],
  ['the network of the node as a string', spec({ hostNetwork: 'true' }), '.spec.hostNetwork'],
  ['the processes of the node', spec({ hostPID: true }), '.spec.hostPID'],
  ['the memory of the node', spec({ hostIPC: true }), '.spec.hostIPC'],
  ['processes in common', spec({ shareProcessNamespace: true }), '.spec.shareProcessNamespace'],
  ['a restart', spec({ restartPolicy: 'OnFailure' }), '.spec.restartPolicy'],
  ['a time limit', spec({ activeDeadlineSeconds: 1 }), '.spec.activeDeadlineSeconds'],
  ['a grace', spec({ terminationGracePeriodSeconds: 0 }), '.spec.terminationGracePeriodSeconds'],
  ['a node', spec({ nodeName: 'x' }), '.spec.nodeName'],
  ['tolerations', spec({ tolerations: [] }), '.spec.tolerations'],
  ['a runtime', spec({ runtimeClassName: 'x' }), '.spec.runtimeClassName'],
  ['node affinity', spec({ affinity: { nodeAffinity: {} } }), '.spec.affinity.nodeAffinity'],
  ['a GPU model', spec({ nodeSelector: { 'nvidia.com/gpu.product': 'x' } }), '.spec.nodeSelector'],
  ['readiness gates', spec({ readinessGates: [] }), '.spec.readinessGates'],
  ['ephemeral containers', spec({ ephemeralContainers: [] }), '.spec.ephemeralContainers'],
  ['another system', spec({ os: { name: 'windows' } }), '.spec.os.name'],
  ['a misspelt field', spec({ hostnetwork: true }), '.spec.hostnetwork'],
  ['a field of a newer Kubernetes', spec({ hostEverything: true }), '.spec.hostEverything'],
  ['a host path', spec({ volumes: [{ name: 'a', hostPath: { path: '/' } }] }), '.spec.volumes[0].hostPath'],
  [
    'a disk of the cloud',
    spec({ volumes: [{ name: 'a', gcePersistentDisk: {} }] }),
    '.spec.volumes[0].gcePersistentDisk',
  ],
  ['our volume', spec({ volumes: [{ name: 'token', emptyDir: {} }] }), '.spec.volumes[0].name'],
  ['a volume of the webhook', spec({ volumes: [{ name: 'penstock-vram-0', emptyDir: {} }] }), '.spec.volumes[0].name'],
  ['a volume that is a word', spec({ volumes: ['a'] }), '.spec.volumes[0]'],
  ['the user root', spec({ securityContext: { runAsUser: 0 } }), '.spec.securityContext.runAsUser'],
  ['maybe root', spec({ securityContext: { runAsNonRoot: false } }), '.spec.securityContext.runAsNonRoot'],
  [
    'no seccomp',
    spec({ securityContext: { seccompProfile: { type: 'Unconfined' } } }),
    '.spec.securityContext.seccompProfile',
  ],
  ['a host process', spec({ securityContext: { windowsOptions: {} } }), '.spec.securityContext.windowsOptions'],
  [
    'an unsafe sysctl',
    spec({ securityContext: { sysctls: [{ name: 'kernel.msgmax' }] } }),
    '.spec.securityContext.sysctls[0].name',
  ],
  ['GPUs of the pod', spec({ resources: { limits: { 'nvidia.com/gpu': 1 } } }), '.spec.resources.limits'],
  ['a second main container', spec({ containers: [{ name: 'other' }] }), '.spec.containers[0].name'],
  ['the server of an app without one', spec({ initContainers: [{ name: 'server' }] }), '.spec.initContainers[0].name'],
  ['the worker first', spec({ initContainers: [{ name: 'worker' }] }), '.spec.initContainers[0].name'],
  ['a container of the webhook', spec({ initContainers: [{ name: 'penstock-vram' }] }), '.spec.initContainers[0].name'],
  ['a container without a name', spec({ initContainers: [{ image: 'a' }] }), '.spec.initContainers[0].name'],
  ['a container twice', spec({ containers: [{ name: 'worker' }, { name: 'worker' }] }), '.spec.containers[1].name'],
  ['containers that are no list', spec({ containers: {} }), '.spec.containers'],
  ['another image of the worker', worker({ image: 'x' }), '.spec.containers[0].image'],
  ['another command of the worker', worker({ command: ['x'] }), '.spec.containers[0].command'],
  ['an environment of the worker', worker({ env: [] }), '.spec.containers[0].env'],
  ['a probe that ends the worker', worker({ livenessProbe: {} }), '.spec.containers[0].livenessProbe'],
  ['another readiness of the worker', worker({ readinessProbe: {} }), '.spec.containers[0].readinessProbe'],
  [
    'a worker that may write',
    worker({ securityContext: { readOnlyRootFilesystem: false } }),
    '.spec.containers[0].securityContext.readOnlyRootFilesystem',
  ],
  [
    'memory of the worker',
    worker({ resources: { limits: { memory: '1Gi' } } }),
    '.spec.containers[0].resources.limits.memory',
  ],
  [
    'GPUs of the worker',
    worker({ resources: { requests: { 'nvidia.com/mig-1g.5gb': 1 } } }),
    '.spec.containers[0].resources.requests',
  ],
  [
    'GPUs of a helper',
    helper({ resources: { limits: { 'nvidia.com/gpu': 1 } } }),
    '.spec.initContainers[0].resources.limits',
  ],
  [
    'a port of the node',
    helper({ ports: [{ containerPort: 80, hostPort: 80 }] }),
    '.spec.initContainers[0].ports[0].hostPort',
  ],
  ['the port of the unit', helper({ ports: [{ containerPort: 9464 }] }), '.spec.initContainers[0].ports[0]'],
  [
    'GPUs of a helper by a variable',
    helper({ env: [{ name: 'A' }, { name: 'NVIDIA_VISIBLE_DEVICES', value: 'all' }] }),
    '.spec.initContainers[0].env[1].name',
  ],
  [
    'GPUs of a helper by a variable from elsewhere',
    helper({ env: [{ name: 'NVIDIA_VISIBLE_DEVICES', valueFrom: { configMapKeyRef: { name: 'a', key: 'b' } } }] }),
    '.spec.initContainers[0].env[0].name',
  ],
  ['an environment that is a word', helper({ env: 'A=b' }), '.spec.initContainers[0].env'],
  [
    'the unit token',
    helper({ volumeMounts: [{ name: 'token', mountPath: '/t' }] }),
    '.spec.initContainers[0].volumeMounts[0].name',
  ],
  ['a privileged helper', context({ privileged: true }), '.spec.initContainers[0].securityContext.privileged'],
  [
    'more privileges',
    context({ allowPrivilegeEscalation: true }),
    '.spec.initContainers[0].securityContext.allowPrivilegeEscalation',
  ],
  [
    'a capability',
    context({ capabilities: { add: ['SYS_ADMIN'] } }),
    '.spec.initContainers[0].securityContext.capabilities',
  ],
  ['all of /proc', context({ procMount: 'Unmasked' }), '.spec.initContainers[0].securityContext.procMount'],
  ['a helper as root', context({ runAsUser: 0 }), '.spec.initContainers[0].securityContext.runAsUser'],
  [
    'no AppArmor',
    context({ appArmorProfile: { type: 'Unconfined' } }),
    '.spec.initContainers[0].securityContext.appArmorProfile',
  ],
  [
    'another type of SELinux',
    context({ seLinuxOptions: { type: 'spc_t' } }),
    '.spec.initContainers[0].securityContext.seLinuxOptions',
  ],
  [
    'a user of SELinux',
    context({ seLinuxOptions: { user: 'x' } }),
    '.spec.initContainers[0].securityContext.seLinuxOptions',
  ],
  ['an unknown privilege', context({ superPowers: true }), '.spec.initContainers[0].securityContext.superPowers'],
  [
    'a hook that asks somebody else',
    worker({ lifecycle: { preStop: { httpGet: { host: '10.0.0.1', port: 80 } } } }),
    '.spec.containers[0].lifecycle.preStop.httpGet.host',
  ],
  [
    'a probe that asks somebody else',
    helper({ livenessProbe: { tcpSocket: { host: '10.0.0.1', port: 80 } } }),
    '.spec.initContainers[0].livenessProbe.tcpSocket.host',
  ],
];

describe('a pod template', () => {
  test.each(GOOD)('may have %s', (_name, template) => {
    expect(podTemplateErrors(template, 'Handler')).toEqual([]);
  });

  test.each(BAD)('may not have %s', (_name, template, path) => {
    expect(paths(template)).toEqual([path]);
  });

  test('of a Sidecar app may say more of the model server, and nothing that has a place of its own', () => {
    const server = (members: Template): Template => spec({ initContainers: [{ name: 'server', ...members }] });
    expect(paths(server({ volumeMounts: [{ name: 'a', mountPath: '/a' }] }), 'Sidecar')).toEqual([]);
    // Its layer may be written to or not, as the app likes.
    expect(paths(server({ securityContext: { readOnlyRootFilesystem: true } }), 'Sidecar')).toEqual([]);
    expect(paths(server({ args: [], startupProbe: {} }), 'Sidecar')).toEqual([
      '.spec.initContainers[0].args',
      '.spec.initContainers[0].startupProbe',
    ]);
    expect(paths(worker({ resources: { limits: { memory: '1Gi' } } }), 'Sidecar')).toEqual([]);
  });

  test("of a Sidecar app may not have a mount of the adapter's volumes", () => {
    const mounts = [{ name: 'server-tmp' }, { name: 'a' }, { name: 'tmp', mountPath: '/t' }];
    const mounted = (name: string): Template => spec({ initContainers: [{ name, volumeMounts: mounts }] });
    const path = '.spec.initContainers[0].volumeMounts[2].name';
    expect([paths(mounted('server'), 'Sidecar'), paths(mounted('helper'), 'Sidecar')]).toEqual([[path], [path]]);
    expect(paths(mounted('helper'), 'Handler')).toEqual([]);
  });

  test.each<[string, unknown]>([
    ['lifecycle', { postStart: { exec: { command: ['node', '-e', ''] } } }],
    ['volumeMounts', [{ name: 'a', mountPath: '/app' }]],
    ['volumeDevices', []],
    ['workingDir', '/evil'],
    ['terminationMessagePath', '/app/main.ts'],
  ])('of a Sidecar app may not have %s of the adapter, which has the token', (key, value) => {
    expect(paths(worker({ [key]: value }), 'Sidecar')).toEqual([`.spec.containers[0].${key}`]);
    expect(paths(worker({ [key]: value }), 'Handler')).toEqual([]);
    expect(paths(worker({ [key]: null }), 'Sidecar')).toEqual([]);
  });

  test.each([
    ['nvidia.com/gpu.shared', false],
    ['amd.com/gpu', false],
    ['gpu.intel.com/i915', false],
    ['volcano.sh/vgpu-number', false],
    ['huawei.com/Ascend910', false],
    ['aws.amazon.com/neuroncore', false],
    ['rdma/hca', true],
    ['example.com/output', true],
    ['ephemeral-storage', true],
  ])('may have %s: %s', (name, may) => {
    const path = '.spec.initContainers[0].resources.limits';
    expect(paths(helper({ resources: { limits: { [name]: 1 } } }))).toEqual(may ? [] : [path]);
  });

  test('is bounded in size, depth and number of errors', () => {
    let deep: unknown = {};
    for (let level = 0; level < 10_000; level++) deep = { deep };
    expect(podTemplateErrors({ spec: deep }, 'Handler')).toEqual([
      { path: 'spec.worker.podTemplate', message: 'must not be nested deeper than 32 levels' },
    ]);
    const large = { metadata: { annotations: { a: 'x'.repeat(65_536) } } };
    expect(podTemplateErrors(large, 'Handler')[0]?.message).toMatch(/^must have at most 65536 bytes as JSON, not 65/);
    const many = Object.fromEntries(Array.from({ length: 100 }, (_, index) => [`x${index}`, 1]));
    const errors = podTemplateErrors({ spec: many }, 'Handler');
    expect(errors).toHaveLength(32);
    // A path that any change of the template changes.
    const rest = { path: 'spec.worker.podTemplate', message: 'has 69 more faults: mend these first' };
    expect(errors.at(-1)).toEqual(rest);
  });

  test('is looked into by the local validator, with a fix', () => {
    const verdict = validateInferenceApp({
      apiVersion: 'penstock.dev/v1alpha1',
      kind: 'InferenceApp',
      metadata: { name: 'a' },
      spec: { worker: { archetype: 'Handler', handler: 'a.ts', podTemplate: { spec: { hostNetwrk: true } } } },
    });
    expect(verdict).toMatchObject({
      ok: false,
      errors: [{ path: 'spec.worker.podTemplate.spec.hostNetwrk', hint: expect.stringContaining('hostNetwork') }],
    });
  });
});
