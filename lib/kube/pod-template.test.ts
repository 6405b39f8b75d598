// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LOCKED_DOWN, underTemplate } from './pod-template.ts';

const OWN = {
  metadata: { labels: { unit: 'a' } },
  spec: {
    restartPolicy: 'Never',
    terminationGracePeriodSeconds: 90,
    automountServiceAccountToken: false,
    securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } },
    initContainers: [{ name: 'server', image: 'server:1', restartPolicy: 'Always', securityContext: LOCKED_DOWN }],
    containers: [
      {
        name: 'worker',
        image: 'worker:1',
        env: [{ name: 'TOKEN_FILE', value: '/token' }],
        resources: { limits: { memory: '1Gi' } },
        ports: [{ name: 'ops', containerPort: 9464 }],
        securityContext: { ...LOCKED_DOWN, readOnlyRootFilesystem: true },
        volumeMounts: [{ name: 'token', mountPath: '/token', readOnly: true }],
      },
    ],
    volumes: [{ name: 'token', secret: { secretName: 'a' } }],
  },
};

const HANDLER = { adapter: false };
const APPARMOR = 'container.apparmor.security.beta.kubernetes.io/worker';
const under = (spec: Record<string, unknown>): Record<string, never> =>
  underTemplate(OWN, { spec }, HANDLER).spec as unknown as Record<string, never>;

describe('a pod under a template', () => {
  it('is the same object without one', () => {
    expect(underTemplate(OWN, undefined, HANDLER)).toBe(OWN);
    expect(underTemplate(OWN, {}, HANDLER)).toBe(OWN);
    expect(underTemplate(OWN, { metadata: null, spec: null }, HANDLER)).toBe(OWN);
  });

  it('has the labels of both, ours where they meet, and never changes what it was given', () => {
    const before = structuredClone(OWN);
    const pod = underTemplate(
      OWN,
      { metadata: { labels: { unit: 'b', team: 'x' }, annotations: { a: 'b', [APPARMOR]: 'unconfined' } } },
      HANDLER,
    );
    expect(pod.metadata).toEqual({ labels: { unit: 'a', team: 'x' }, annotations: { a: 'b' } });
    expect(OWN).toEqual(before);
  });

  it('has what the template adds, without its nulls', () => {
    const spec = under({ hostname: 'x', subdomain: null, dnsConfig: { searches: ['a'], options: null } });
    expect(spec).toMatchObject({ ...OWN.spec, hostname: 'x', dnsConfig: { searches: ['a'] } });
    expect(JSON.stringify(spec)).not.toContain('null');
  });

  it('keeps the indexes of the template in every list', () => {
    const spec = under({
      volumes: [{ name: 'x', emptyDir: {} }],
      initContainers: [
        { name: 'fetch', image: 'f' },
        { name: 'server', workingDir: '/' },
        { name: 'proxy', image: 'p' },
      ],
      containers: [{ name: 'worker', ports: [{ containerPort: 1 }], volumeMounts: [{ name: 'x', mountPath: '/x' }] }],
    }) as unknown as { [list: string]: { name: string; [member: string]: unknown }[] };
    expect(spec['volumes']?.map(({ name }) => name)).toEqual(['x', 'token']);
    expect(spec['initContainers']?.map(({ name }) => name)).toEqual(['fetch', 'server', 'proxy']);
    expect(spec['initContainers']?.[0]).toMatchObject({ image: 'f', securityContext: LOCKED_DOWN });
    expect(spec['initContainers']?.[1]).toMatchObject({ image: 'server:1', workingDir: '/', restartPolicy: 'Always' });
    expect(spec['containers']?.[0]).toMatchObject({
      ports: [{ containerPort: 1 }, { name: 'ops' }],
      volumeMounts: [{ name: 'x' }, { name: 'token' }],
    });
  });

  it('has the server last when the template does not name it', () => {
    const { initContainers } = under({ initContainers: [{ name: 'fetch', image: 'f' }] }) as unknown as {
      initContainers: { name: string }[];
    };
    expect(initContainers.map(({ name }) => name)).toEqual(['fetch', 'server']);
  });

  it('may have more resources beside ours, and a tighter security context', () => {
    const { containers, securityContext } = under({
      securityContext: {
        runAsUser: 7,
        runAsNonRoot: false,
        seccompProfile: { type: 'Localhost', localhostProfile: 'p' },
      },
      containers: [
        {
          name: 'worker',
          resources: { limits: { memory: '9Gi', 'example.com/x': 1 }, requests: { 'example.com/x': 1 } },
        },
      ],
    }) as unknown as { containers: unknown[]; securityContext: unknown };
    expect(securityContext).toEqual({
      runAsUser: 7,
      runAsNonRoot: true,
      seccompProfile: { type: 'Localhost', localhostProfile: 'p' },
    });
    expect(containers[0]).toMatchObject({
      resources: { limits: { memory: '1Gi', 'example.com/x': 1 }, requests: { 'example.com/x': 1 } },
    });
  });

  it('lets a template decide about the account and the links', () => {
    expect(under({ serviceAccountName: 'a', automountServiceAccountToken: true })).toMatchObject({
      serviceAccountName: 'a',
      automountServiceAccountToken: true,
    });
  });
});

describe('what nobody has checked', () => {
  const CONTEXT = {
    runAsUser: 0,
    privileged: true,
    procMount: 'Unmasked',
    seLinuxOptions: { type: 'spc_t' },
    appArmorProfile: { type: 'Unconfined' },
    capabilities: { add: ['SYS_ADMIN'] },
    futurePower: true,
  };
  const PROBE = { httpGet: { host: '10.0.0.1', port: 80 } };
  const EVIL = {
    ports: [{ containerPort: 80, hostPort: 80, hostIP: '0.0.0.0' }],
    volumeMounts: [
      { name: 'token', mountPath: '/mine' },
      { name: 'x', mountPath: '/x' },
    ],
    securityContext: CONTEXT,
    lifecycle: { preStop: PROBE, postStart: { exec: { command: ['a'] } } },
  };
  const first = (list: unknown): Record<string, unknown> => (list as Record<string, unknown>[])[0]!;

  it('reaches neither out of the pod nor for the token', () => {
    const { securityContext, initContainers } = under({
      securityContext: { ...CONTEXT, sysctls: [{ name: 'kernel.msgmax', value: '1' }] },
      initContainers: [{ ...EVIL, name: 'helper', livenessProbe: PROBE }],
    });
    expect(securityContext).toEqual(OWN.spec.securityContext);
    expect(first(initContainers)).toEqual({
      name: 'helper',
      ports: [{ containerPort: 80 }],
      volumeMounts: [{ name: 'x', mountPath: '/x' }],
      securityContext: LOCKED_DOWN,
      lifecycle: { preStop: { httpGet: { port: 80 } }, postStart: { exec: { command: ['a'] } } },
      livenessProbe: { httpGet: { port: 80 } },
    });
  });

  it('mounts nothing of an adapter', () => {
    const mounts = (adapter: boolean): unknown => {
      const helper = { name: 'helper', volumeMounts: [{ name: 'tmp' }, { name: 'token' }, { name: 'x' }] };
      const { spec } = underTemplate(OWN, { spec: { initContainers: [helper] } }, { adapter });
      return first((spec as Record<string, unknown>)['initContainers'])['volumeMounts'];
    };
    expect([mounts(true), mounts(false)]).toEqual([[{ name: 'x' }], [{ name: 'tmp' }, { name: 'x' }]]);
  });

  it('runs and lies nowhere in an adapter, and in a worker of the app only', () => {
    const spec = { containers: [{ ...EVIL, name: 'worker', workingDir: '/x', terminationMessagePolicy: 'File' }] };
    const [own] = OWN.spec.containers;
    const adapter = first(underTemplate(OWN, { spec }, { adapter: true }).spec.containers);
    expect(adapter).toEqual({
      ...own,
      terminationMessagePolicy: 'File',
      ports: [{ containerPort: 80 }, ...own!.ports],
    });
    expect(first(under(spec)['containers'])).toMatchObject({
      workingDir: '/x',
      lifecycle: { postStart: { exec: { command: ['a'] } } },
      volumeMounts: [{ name: 'x' }, { name: 'token', mountPath: '/token' }],
    });
  });
});

/** Whatever a stored object may hold that nobody has checked. */
const anything = fc.jsonValue({ maxDepth: 2 });
const container = fc.dictionary(
  fc.constantFrom(
    'image',
    'command',
    'env',
    'envFrom',
    'restartPolicy',
    'livenessProbe',
    'securityContext',
    'ports',
    'volumeMounts',
    'resources',
  ),
  fc.oneof(
    anything,
    fc.constant({
      privileged: true,
      allowPrivilegeEscalation: true,
      capabilities: { add: ['SYS_ADMIN'] },
      procMount: 'Unmasked',
    }),
  ),
);
const list = fc.array(
  fc
    .tuple(fc.constantFrom('worker', 'server', 'x', 'token'), container)
    .map(([name, members]) => ({ ...members, name })),
  { maxLength: 4 },
);
const hostile = fc.record(
  {
    hostNetwork: anything,
    hostPID: anything,
    hostIPC: anything,
    restartPolicy: anything,
    nodeName: anything,
    tolerations: anything,
    activeDeadlineSeconds: anything,
    terminationGracePeriodSeconds: anything,
    shareProcessNamespace: anything,
    securityContext: fc.oneof(anything, fc.constant({ runAsNonRoot: false, seccompProfile: { type: 'Unconfined' } })),
    volumes: fc.oneof(
      anything,
      fc.constant([
        { name: 'x', hostPath: { path: '/' } },
        { name: 'token', emptyDir: {} },
      ]),
    ),
    containers: fc.oneof(anything, list),
    initContainers: fc.oneof(anything, list),
  },
  { requiredKeys: [] },
);

it('ours wins whatever a template holds', () => {
  fc.assert(
    fc.property(hostile, (spec) => {
      const pod = under(spec) as unknown as typeof OWN.spec & Record<string, unknown>;
      for (const key of ['hostNetwork', 'hostPID', 'hostIPC', 'nodeName', 'tolerations', 'activeDeadlineSeconds']) {
        expect(pod).not.toHaveProperty(key);
      }
      expect(pod).toMatchObject({ restartPolicy: 'Never', terminationGracePeriodSeconds: 90 });
      expect(pod.securityContext).toMatchObject({ runAsNonRoot: true });
      expect(pod.securityContext.seccompProfile.type).not.toBe('Unconfined');
      expect(pod.volumes.filter(({ name }) => name === 'token')).toEqual(OWN.spec.volumes);
      expect(pod.volumes.filter((volume) => 'hostPath' in volume)).toEqual([]);
      expect(pod.containers).toHaveLength(1);
      const { name, image, env } = OWN.spec.containers[0]!;
      expect(pod.containers[0]).toMatchObject({ name, image, env });
      expect(pod.containers[0]).not.toHaveProperty('livenessProbe');
      expect(pod.containers[0]?.volumeMounts.at(-1)).toEqual({ name: 'token', mountPath: '/token', readOnly: true });
      for (const { securityContext } of [...pod.containers, ...pod.initContainers]) {
        expect(securityContext).toMatchObject({ allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } });
        expect(securityContext).not.toHaveProperty('privileged');
        expect(securityContext.capabilities).not.toHaveProperty('add');
      }
    }),
    { numRuns: 500 },
  );
});
