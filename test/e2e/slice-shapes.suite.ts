// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import type { Installation } from './installation.ts';
import { CARD_BYTES, SLOTS } from './shared-gpu.ts';
import { create, kubectl, podOf, SLICED, template, told } from './slice-pods.ts';

const SLOT = CARD_BYTES / SLOTS;
const GIB = 2 ** 30;

/** A container as all of these tests have it, under another name. */
function container(name: string, command: readonly string[], more: object = {}): object {
  const [made] = template({ command }).spec.containers;
  return { ...made, name, ...more };
}

const holding = (bytes: number): string[] => ['vram-use', '--hold', String(bytes), '1'];
const held = (bytes: number): string[] => [
  `${bytes} bytes: allocated`,
  '1 bytes: out of memory',
  `0 of ${bytes} bytes free`,
];
const asking = [`alloc:all:${2 * SLOT}`, 'alloc:more:1'];

/** An init container with two slots; two containers with a share each, one of them with something of its own to preload. */
const shapes = (name: string, more: object): object =>
  podOf(name, {
    annotations: {
      'penstock.dev/slice': 'true',
      'penstock.dev/slice-ratio.first': '2',
      'penstock.dev/vram.sized': '3Gi',
    },
    command: [],
    spec: {
      securityContext: {
        runAsNonRoot: true,
        runAsUser: 12_345,
        runAsGroup: 4_321,
        fsGroup: 999,
        seccompProfile: { type: 'RuntimeDefault' },
      },
      initContainers: [container('first', ['driver-steps', 'dlopen:libcuda.so.1', 'init:0', 'context:c:0', ...asking])],
      containers: [
        container('sized', holding(3 * GIB), { env: [{ name: 'LD_PRELOAD', value: 'libc.so.6' }] }),
        container('plain', holding(SLOT)),
      ],
      ...more,
    },
  });

export function sliceShapesSuite(penstock: () => Installation): void {
  describe('a pod of several containers, by a user that no image knows', () => {
    test.each([
      ['as it is', 'shapes', {}],
      ['in a user namespace of its own', 'shapes-userns', { hostUsers: false }],
    ])('%s: each has a share of its own, the init container before them, too', async (_, name, more) => {
      const { cluster } = penstock();
      expect(await create(cluster, shapes(name, more))).toMatchObject({ code: 0 });
      await cluster.kube('-n', SLICED, 'wait', '--for=condition=Ready', `pod/${name}`, '--timeout=60s');
      expect(await told(cluster, name, 'sized')).toEqual(held(3 * GIB));
      expect(await told(cluster, name, 'plain')).toEqual(held(SLOT));
      const first = await cluster.kube('-n', SLICED, 'logs', name, '-c', 'first');
      expect(first.trim().split('\n').slice(2)).toEqual([`${asking[0]} = 0`, `${asking[1]} = 2`]);
      await kubectl(cluster, ['-n', SLICED, 'delete', 'pod', name, '--wait=true']);
    });
  });
}
