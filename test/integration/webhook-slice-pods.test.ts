// SPDX-License-Identifier: Apache-2.0
// What slicing makes of generated pods, judged by a real API server in a namespace that enforces PodSecurity `restricted`.
import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { applyPatch } from 'fast-json-patch';
import type { Operation } from 'fast-json-patch';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { KubeClient } from '#kube/client.ts';
import { KubeError } from '#kube/errors.ts';
import { NAMESPACES, PODS } from '#kube/resource.ts';
import type { KubeObject } from '#kube/types.ts';
import type { Delivery, SliceContext } from '#webhook/slice/context.ts';
import { contextOf, gpuContainer, gpuNode, settings, slicedPod } from '#webhook/slice/fixtures.ts';
import { joinSlices } from '#webhook/slice/ephemeral.ts';
import type { Container, Pod } from '#webhook/slice/pod.ts';
import { nodesArbitrary, podArbitrary } from '#webhook/slice/pods.arbitrary.ts';
import { slicePod } from '#webhook/slice/slice-pod.ts';
import { sharedKube } from '../servers/kube.ts';
import { SERVICE_ACCOUNTS, aFixture } from './kube-fixture.ts';

const WANTED = 320;
const SEED = 612;
/** Calls at once; the API server is one process on two cores. */
const LANES = 8;
const image = 'registry.example/penstock-vram:1';

type StoredPod = Pod & KubeObject;

let client: KubeClient;
const namespace = `slices-${randomBytes(4).toString('hex')}`;

beforeAll(async () => {
  client = aFixture(sharedKube().kubeconfig).client;
  const labels = {
    'pod-security.kubernetes.io/enforce': 'restricted',
    'pod-security.kubernetes.io/enforce-version': 'latest',
  };
  await client.create(NAMESPACES, { metadata: { name: namespace, labels } });
  // No controller runs here that would make it.
  await client.create(SERVICE_ACCOUNTS, { metadata: { namespace, name: 'default' } });
});
afterAll(() => client.close());

const overTheWire = <T>(value: T): T => JSON.parse(JSON.stringify(value)) as T;

function apply(pod: Pod, patch: readonly Operation[] = []): Pod {
  return applyPatch(overTheWire(pod), overTheWire(patch) as Operation[], true).newDocument;
}

/** Sliced pods of generated ones, half of them with an init container for the library, and by what they were. */
function slicedPods(): { readonly pod: Pod; readonly context: SliceContext }[] {
  const found: { readonly pod: Pod; readonly context: SliceContext }[] = [];
  const tolerations = [{ key: 'sharing', operator: 'Exists', effect: 'NoSchedule' }];
  const nodeRequirements = [{ key: 'sharing.example.com/on', operator: 'DoesNotExist' as const }];
  for (const [pod, nodes] of fc.sample(fc.tuple(podArbitrary, nodesArbitrary), { numRuns: 8 * WANTED, seed: SEED })) {
    const delivery: Delivery = { kind: found.length % 2 === 0 ? 'image' : 'init', image, pullPolicy: 'IfNotPresent' };
    const context = contextOf(nodes, { delivery, settings: { ...settings, tolerations, nodeRequirements } });
    const { outcome, patch } = slicePod(pod, context);
    if (outcome === 'mutated' && found.length < WANTED) found.push({ pod: apply(pod, patch), context });
  }
  return found;
}

/** The pod as it would be stored. */
function dryRun(pod: Pod): Promise<StoredPod> {
  const { name, ...metadata } = pod.metadata;
  const object = {
    apiVersion: 'v1',
    kind: 'Pod',
    spec: pod.spec,
    metadata: { ...metadata, name: name ?? `pod-${randomBytes(6).toString('hex')}`, namespace },
  };
  return client.create(PODS, object as unknown as StoredPod, { dryRun: true });
}

/** As somebody copies it. */
function withoutServerParts({ metadata, spec }: Pod): Pod {
  const { annotations = {}, generateName = 'copy-' } = metadata;
  return { metadata: { generateName, annotations }, spec };
}

const restricted = {
  allowPrivilegeEscalation: false,
  capabilities: { drop: ['ALL'] },
  runAsNonRoot: true,
  seccompProfile: { type: 'RuntimeDefault' },
};
const safeContainer = (name: string): Container =>
  gpuContainer(name, 1, { securityContext: restricted } as Partial<Container>);

describe('a real API server with PodSecurity restricted', () => {
  test(`takes ${WANTED} generated pods that were sliced, and stores what the patch says`, async () => {
    const pods = slicedPods();
    expect(pods).toHaveLength(WANTED);
    const refusals: string[] = [];
    let next = 0;
    const lane = async (): Promise<void> => {
      while (next < pods.length) {
        const { pod, context } = pods[next++]!;
        try {
          const stored = await dryRun(pod);
          expect(stored.spec).toMatchObject(overTheWire(withoutMovedParts(pod)));
          // And once more, on what the API server's defaults have made of it.
          const again = slicePod(stored, context);
          expect([again.outcome, again.reason]).toEqual(['noop', 'already-sliced']);
          // And as a copy where nothing is shared: what is left of it is a pod like any other.
          const elsewhere = contextOf([gpuNode('elsewhere', { shared: [] })]);
          const { restored, patch } = slicePod(stored, elsewhere);
          expect(restored).toBe(true);
          const whole = await dryRun(withoutServerParts(apply(stored, patch)));
          expect(slicePod(whole, elsewhere).patch).toBeUndefined();
          expect(JSON.stringify(whole.spec)).not.toMatch(/penstock-(?:vram|quota)/);
        } catch (error) {
          if (!(error instanceof KubeError)) throw error;
          refusals.push(error.message);
        }
      }
    };
    await Promise.all(Array.from({ length: LANES }, lane));
    expect(refusals.slice(0, 3)).toEqual([]);
  });

  test('refuses pods that are not restricted: what it took was judged', async () => {
    const pod = slicedPod(
      {},
      { containers: [{ ...safeContainer('main'), securityContext: { privileged: true } } as Container] },
    );
    await expect(dryRun(pod)).rejects.toThrow(/violates PodSecurity "restricted/);
  });

  test('takes the debugger that joins a slice', async () => {
    const plain = slicedPod({}, { containers: [safeContainer('main')] });
    const { patch } = slicePod(plain, contextOf([gpuNode('big')]));
    const name = `debugged-${randomBytes(4).toString('hex')}`;
    const sliced = apply(plain, patch);
    const object = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { ...sliced.metadata, name, namespace },
      spec: { ...sliced.spec, schedulingGates: [{ name: 'example.com/never' }] },
    };
    const stored = await client.create(PODS, object as unknown as StoredPod);
    const shell = { name: 'debugger', image: 'tools:1', targetContainerName: 'main', securityContext: restricted };
    const wanted: StoredPod = { ...stored, spec: { ...stored.spec, ephemeralContainers: [shell] } };
    const { operations } = joinSlices(wanted, stored);
    const answer = await client.replace(PODS, apply(wanted, operations) as StoredPod, {
      subresource: 'ephemeralcontainers',
    });
    expect(answer.spec.ephemeralContainers?.[0]?.volumeMounts?.map(({ mountPath }) => mountPath)).toEqual([
      '/penstock/vram/lib',
      '/penstock/vram/region',
      '/penstock/vram/quota',
    ]);
    await client.delete(PODS, { namespace, name }, { gracePeriodSeconds: 0 });
  });
});

/** Admission adds a volume and tolerations at the end of lists, so those are compared by what ours are among. */
function withoutMovedParts({ spec }: Pod): object {
  return {
    containers: spec.containers.map(({ name, resources, env }) => ({
      name,
      ...(resources?.limits ? { resources: { limits: resources.limits } } : {}),
      ...(env && env.length > 0 ? { env: env.map(({ name, value }) => (value ? { name, value } : { name })) } : {}),
    })),
    ...(spec.initContainers ? { initContainers: spec.initContainers.map(({ name }) => ({ name })) } : {}),
    ...(spec.affinity?.nodeAffinity ? { affinity: spec.affinity } : {}),
  };
}
