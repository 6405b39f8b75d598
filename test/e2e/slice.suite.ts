// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { until } from '#test/until.ts';
import { killContainer } from './containers.ts';
import { DEBUG_IMAGE } from './cuda-image.ts';
import type { Installation } from './installation.ts';
import { CARD_BYTES, SHARED, SLOTS } from './shared-gpu.ts';
import {
  apply,
  isReady,
  kubectl,
  lines,
  pod,
  pods,
  readyPods,
  SLICED,
  template,
  told,
  type Container,
  type SlicePod,
} from './slice-pods.ts';

const MIB = 2 ** 20;
const RATIO = 2;
const SHARE = (CARD_BYTES / SLOTS) * RATIO;
const selector = 'app=halves';

/** The program takes its share to the last page: a page short of it, two pages (refused), one page, and one byte (refused). */
const takesAll = (share: number): string[] => ['vram-use', '--hold', share - 2 * MIB, 4 * MIB, 2 * MIB, 1].map(String);
const gotAll = (share: number): string[] => [
  `${share - 2 * MIB} bytes: allocated`,
  `${4 * MIB} bytes: out of memory`,
  `${2 * MIB} bytes: allocated`,
  '1 bytes: out of memory',
  `0 of ${share} bytes free`,
];

const deployment = {
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'halves', namespace: SLICED },
  spec: {
    replicas: 2,
    // The card is full with two: an old pod has to go before a new one can come.
    strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 0, maxUnavailable: 1 } },
    selector: { matchLabels: { app: 'halves' } },
    template: template({
      annotations: { 'penstock.dev/slice': 'true', 'penstock.dev/slice-ratio': String(RATIO) },
      labels: { app: 'halves' },
      command: takesAll(SHARE),
    }),
  },
};

export function sliceSuite(penstock: () => Installation): void {
  describe('a Deployment whose pods ask for a GPU and opt in to half of it', () => {
    test('runs two pods on the one card, in a restricted namespace', async () => {
      const { cluster } = penstock();
      await apply(cluster, deployment);
      const both = await readyPods(cluster, selector, 2);
      for (const { spec } of both) {
        expect(main(spec.containers).resources?.limits).toEqual({ [SHARED]: String(RATIO) });
        // This cluster has image volumes; the other way is shown with the policy.
        expect(spec.volumes?.find(({ name }) => name === 'penstock-vram-lib')).toHaveProperty('image.reference');
        expect(spec.initContainers).toBeUndefined();
      }
      // What the user wrote stays what it was: only pods are changed.
      const written = await cluster.kube('-n', SLICED, 'get', 'deployment', 'halves', '-o', 'json');
      expect(written).toContain('"nvidia.com/gpu": "1"');
      expect(written).not.toContain(SHARED);
    });

    test('each is refused more than its share to the byte, and says in an annotation how the share came about', async () => {
      const { cluster } = penstock();
      for (const { metadata } of await pods(cluster, selector)) {
        expect(await told(cluster, metadata.name)).toEqual(gotAll(SHARE));
        expect(metadata.annotations?.['penstock.dev/slice-status']).toMatch(/2 of 4/);
      }
    });

    test('a program that is started beside it shares its limit, and sees the share as the card', async () => {
      const { cluster } = penstock();
      const [first] = await pods(cluster, selector);
      expect(await steps(penstock(), first!, 'info', 'total:0', 'alloc:more:1')).toEqual([
        `info free 0 total ${SHARE} used ${SHARE} = 0`,
        `total:0 total ${SHARE} = 0`,
        'alloc:more:1 = 2',
      ]);
    });

    test('kill -9 of one changes nothing for the other, and the killed one gets its whole share again', async () => {
      const { cluster } = penstock();
      const [killed, other] = (await pods(cluster, selector)) as [SlicePod, SlicePod];
      await killContainer(cluster, await pod(cluster, killed.metadata.name), 'main');
      const seen = await steps(penstock(), other, 'info', 'alloc:more:1');
      expect(seen).toEqual([`info free 0 total ${SHARE} used ${SHARE} = 0`, 'alloc:more:1 = 2']);
      await until(
        async () => {
          const now = await pod(cluster, killed.metadata.name);
          return isReady(now) && now.status.containerStatuses?.[0]?.restartCount === 1;
        },
        { what: 'the killed container to be back', timeoutMs: 60_000 },
      );
      expect(await told(cluster, killed.metadata.name)).toEqual(gotAll(SHARE));
      const untouched = await pod(cluster, other.metadata.name);
      expect(untouched.status.containerStatuses?.[0]?.restartCount).toBe(0);
      expect(await lines(cluster, other.metadata.name)).toEqual(gotAll(SHARE));
    });

    test('kubectl debug of one: the new container is held to the share of the one it looks at', async () => {
      const { cluster } = penstock();
      const [first] = await pods(cluster, selector);
      const { name } = first!.metadata;
      const program = ['driver-steps', 'dlopen:libcuda.so.1', 'init:0', 'context:c:0', 'info', 'alloc:more:1'];
      const flags = ['--image', DEBUG_IMAGE, '--image-pull-policy=Never', '--profile=restricted', '--target=main'];
      const said = await kubectl(cluster, ['-n', SLICED, 'debug', name, '-c', 'look', ...flags, '--', ...program]);
      expect([said.code, said.stderr]).toEqual([0, expect.any(String)]);
      const out = await until(
        async () => {
          const text = await cluster.kube('-n', SLICED, 'logs', name, '-c', 'look');
          return text.includes('alloc:more') && text;
        },
        { what: 'the debug container to say what it sees', timeoutMs: 60_000 },
      );
      expect(out.trim().split('\n').slice(-2)).toEqual([
        `info free 0 total ${SHARE} used ${SHARE} = 0`,
        'alloc:more:1 = 2',
      ]);
      const [look] = (await pod(cluster, name)).spec.ephemeralContainers ?? [];
      expect(look?.resources ?? {}).toEqual({});
    });

    test('scaled to three, the third waits for slots and has them when another leaves; scaled back, the one that waits goes', async () => {
      const { cluster } = penstock();
      const scale = (replicas: number) =>
        cluster.kube('-n', SLICED, 'scale', 'deployment/halves', `--replicas=${replicas}`);
      const waiting = (): Promise<SlicePod> =>
        until(
          async () => (await pods(cluster, selector)).find(({ status }) => status.conditions?.some(unschedulable)),
          {
            what: 'a pod to wait for slots',
          },
        );
      await scale(3);
      const third = await waiting();
      const [leaving] = (await pods(cluster, selector)).filter(isReady);
      await cluster.kube('-n', SLICED, 'delete', 'pod', leaving!.metadata.name, '--wait=false');
      await until(async () => isReady(await pod(cluster, third.metadata.name)), { what: 'the third pod to run' });
      expect(await told(cluster, third.metadata.name)).toEqual(gotAll(SHARE));
      const fourth = await waiting();
      await scale(2);
      const both = await readyPods(cluster, selector, 2);
      expect(both.map(({ metadata }) => metadata.name)).toContain(third.metadata.name);
      expect(both.map(({ metadata }) => metadata.name)).not.toContain(fourth.metadata.name);
    });

    test('a rollout replaces both, one after the other, each with its share', async () => {
      const { cluster } = penstock();
      const before = (await pods(cluster, selector)).map(({ metadata }) => metadata.uid);
      await cluster.kube('-n', SLICED, 'rollout', 'restart', 'deployment/halves');
      await cluster.kube('-n', SLICED, 'rollout', 'status', 'deployment/halves', '--timeout=60s');
      const after = await readyPods(cluster, selector, 2);
      expect(after.filter(({ metadata }) => before.includes(metadata.uid))).toEqual([]);
      for (const { metadata } of after) expect(await told(cluster, metadata.name)).toEqual(gotAll(SHARE));
      await cluster.kube('-n', SLICED, 'delete', 'deployment', 'halves', '--wait=true');
      await until(async () => (await pods(cluster, selector)).length === 0, { what: 'the pods to leave' });
    });
  });
}

function main(containers: readonly Container[]): Container {
  return containers.find(({ name }) => name === 'main')!;
}

function unschedulable({ type, reason }: { type: string; reason?: string }): boolean {
  return type === 'PodScheduled' && reason === 'Unschedulable';
}

/** What driver-steps prints for these steps as a further program in the pod's container. */
async function steps({ cluster }: Installation, { metadata }: SlicePod, ...words: string[]): Promise<string[]> {
  const program = ['driver-steps', 'dlopen:libcuda.so.1', 'init:0', 'context:c:0', ...words];
  const out = await cluster.kube('-n', SLICED, 'exec', metadata.name, '-c', 'main', '--', ...program);
  return out.trim().split('\n').slice(2);
}
