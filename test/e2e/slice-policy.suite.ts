// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { until } from '#test/until.ts';
import { SYSTEM, type Installation } from './installation.ts';
import { CARD_BYTES, SHARED, SLOTS, STRICT } from './shared-gpu.ts';
import { apply, create, kubectl, pod, podOf, readyPods, SLICED, told, type SlicePod, type Wish } from './slice-pods.ts';

const WHOLE = 'nvidia.com/gpu';
const SLOT = CARD_BYTES / SLOTS;
const OPT_IN = { 'penstock.dev/slice': 'true' };

export function slicePolicySuite(penstock: () => Installation): void {
  /** The pod as it would be stored, and what kubectl says beside it; nothing is made. */
  const dryRun = async (wish: Partial<Wish>): Promise<{ made: SlicePod | undefined; code: number; stderr: string }> => {
    const manifest = podOf('tried', { command: ['vram-use'], ...wish });
    const { code, stdout, stderr } = await create(penstock().cluster, manifest, '--dry-run=server', '-o', 'json');
    return { made: code === 0 ? (JSON.parse(stdout) as SlicePod) : undefined, code, stderr };
  };
  const limits = (made: SlicePod | undefined) => made?.spec.containers[0]?.resources?.limits;

  describe('what a pod says of its slice', () => {
    test('a pod without a GPU is stored as it was written, whatever it says', async () => {
      const { made, stderr } = await dryRun({ annotations: OPT_IN, limits: { cpu: '1' } });
      expect(made?.metadata.annotations).toEqual(OPT_IN);
      expect(made?.spec.containers[0]).not.toHaveProperty('env');
      expect(made?.spec.volumes?.map(({ name }) => String(name).replace(/-[^-]+$/, ''))).toEqual(['kube-api-access']);
      expect(stderr).toBe('');
    });

    test.each([
      ['slice-ratio', '0', 'must be a whole number from 1 to 64'],
      ['slice', 'yes', 'must be "true" or "false"'],
      ['vram', '10', 'must be a quantity from 1Mi to 1Pi'],
      ['workload-type', 'gaming', 'must be one of training, inference, batch, dev'],
      ['slice-ratoi', '2', 'did you mean penstock.dev/slice-ratio'],
      ['slice-ratio.mian', '2', 'no container "mian"; it has main'],
    ])('%s: "%s" is refused with the field, the value and what would do', async (key, value, words) => {
      const { code, stderr } = await dryRun({ annotations: { ...OPT_IN, [`penstock.dev/${key}`]: value } });
      expect([code, stderr]).toEqual([1, expect.stringContaining(`metadata.annotations[penstock.dev/${key}]`)]);
      expect(stderr).toContain(words);
    });

    test.each([
      ['a ratio', { 'penstock.dev/slice-ratio': '3' }, '3', 3 * SLOT],
      ['a type of workload', { 'penstock.dev/workload-type': 'inference' }, '2', 2 * SLOT],
      ['an amount of memory', { 'penstock.dev/vram': '5Gi' }, '2', 5 * 2 ** 30],
      ['nothing more', {}, '1', SLOT],
      ['a ratio for the container', { 'penstock.dev/slice-ratio.main': '2' }, '2', 2 * SLOT],
    ])('%s gives so many slots and so many bytes', async (_, more, slots, bytes) => {
      const { made } = await dryRun({ annotations: { ...OPT_IN, ...more } });
      expect(limits(made)).toEqual({ [SHARED]: slots });
      expect(made?.metadata.annotations?.['main.vram.penstock.dev/quota']).toBe(String(bytes));
    });

    test('the annotations of castops are understood', async () => {
      const { made } = await dryRun({ annotations: { 'castops.io/optimize': 'true', 'castops.io/slice-ratio': '2' } });
      expect(limits(made)).toEqual({ [SHARED]: '2' });
    });

    test('as many slots as the GPU has stay a whole GPU, with a warning and an Event', async () => {
      const { cluster } = penstock();
      const annotations = { ...OPT_IN, 'penstock.dev/slice-ratio': String(SLOTS) };
      const said = await create(cluster, podOf('whole', { annotations, command: ['vram-use'] }));
      expect(said.stderr).toMatch(
        /Warning: penstock: not sliced, keeps its whole GPUs: .*4 of 4 slots are a whole GPU/,
      );
      expect(limits(await pod(cluster, 'whole'))).toEqual({ [WHOLE]: '1' });
      const note = await until(() => eventNote(penstock(), SLICED, 'NotSliced'), { what: 'the Event' });
      expect(note).toMatch(/whole keeps its whole GPUs: .*4 of 4 slots/);
      await kubectl(cluster, ['-n', SLICED, 'delete', 'pod', 'whole', '--wait=false']);
    });
  });

  describe('the policy in ConfigMap penstock-slicing', () => {
    const setPolicy = (policy: string): Promise<void> =>
      apply(penstock().cluster, {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { name: 'penstock-slicing', namespace: SYSTEM },
        data: { 'policy.yaml': policy },
      });
    const rule = (more: string, rest = ''): string =>
      `version: 1\nrules:\n  - name: strict-teams\n    namespaceSelector: { matchLabels: { share: 'yes' } }\n    action: slice\n    ${more}\n${rest}`;

    test('enrols pods that say nothing, as soon as it is there', async () => {
      const { cluster } = penstock();
      expect(limits((await dryRun({})).made)).toEqual({ [WHOLE]: '1' });
      await cluster.kube('label', 'namespace', SLICED, 'share=yes');
      await setPolicy(rule('ratio: 2'));
      const made = await until(
        async () => {
          const { made } = await dryRun({});
          return limits(made)?.[SHARED] !== undefined && made;
        },
        { what: 'the policy to hold' },
      );
      expect(limits(made)).toEqual({ [SHARED]: '2' });
      expect(made.metadata.annotations?.['penstock.dev/slice-status']).toContain('by policy rule strict-teams');
      expect(limits((await dryRun({ annotations: { 'penstock.dev/slice': 'false' } })).made)).toEqual({ [WHOLE]: '1' });
    });

    test('an edit that makes no sense leaves the last good one in force, with an Event that names the place', async () => {
      await setPolicy(rule('ratio: many'));
      const note = await until(() => eventNote(penstock(), SYSTEM, 'PolicyRefused'), { what: 'the Event' });
      expect(note).toMatch(/rules\[0\]\.ratio.*the last good document stays in force/);
      expect(limits((await dryRun({})).made)).toEqual({ [SHARED]: '2' });
    });

    test('a dry run only tells what would be', async () => {
      await setPolicy(rule('dryRun: true'));
      const made = await until(
        async () => {
          const { made } = await dryRun({});
          return limits(made)?.[WHOLE] !== undefined && made;
        },
        { what: 'the new policy to hold' },
      );
      expect(made.metadata.annotations?.['penstock.dev/slice-status']).toMatch(
        /^dry run, nothing was changed; it would be: main: 1 × /,
      );
      expect(made.spec.containers[0]).not.toHaveProperty('env');
    });

    test('keeps pods off a plugin that refuses more than one slot, where it is told so', async () => {
      const { cluster } = penstock();
      // What happens to a pod that asks for two all the same.
      await create(cluster, podOf('refused', { limits: { [STRICT]: '2' }, command: ['vram-use'] }));
      const failed = await until(
        async () => {
          const { status } = await pod(cluster, 'refused');
          return status.phase === 'Failed' && status;
        },
        { what: 'the kubelet to refuse it' },
      );
      expect(failed.reason).toBe('UnexpectedAdmissionError');
      await kubectl(cluster, ['-n', SLICED, 'delete', 'pod', 'refused', '--wait=false']);
      // Two resources that are both all slots of one card would be used by nobody: each has one of its own.
      const node = (await cluster.kube('get', 'nodes', '-o', 'name')).trim();
      const cards = (count: number) => cluster.kube('label', '--overwrite', node, `nvidia.com/gpu.count=${count}`);
      const told = (refuses: boolean): string =>
        `sharedResources:\n  - name: ${STRICT}\n    slotsPerGPU: ${SLOTS}\n    memoryPerSlot: 1Gi\n    packsOnOneCard: true\n    failRequestsGreaterThanOne: ${refuses}\n  - { name: ${SHARED}, packsOnOneCard: true }\n`;
      const given = (refuses: boolean, ratio: number) => async (): Promise<boolean> => {
        const { made } = await dryRun({ annotations: { ...OPT_IN, 'penstock.dev/slice-ratio': String(ratio) } });
        return limits(made)?.[ratio === 1 || !refuses ? STRICT : SHARED] === String(ratio);
      };
      try {
        await cards(2);
        for (const refuses of [false, true]) {
          await setPolicy(rule('ratio: 1', told(refuses)));
          for (const ratio of [1, 2])
            await until(given(refuses, ratio), { what: `refuses ${refuses}, ratio ${ratio}` });
        }
      } finally {
        await cards(1);
      }
    });

    test('brings the library by an init container where it says so, and the share holds', async () => {
      const { cluster } = penstock();
      await setPolicy(rule('ratio: 1', 'delivery: { strategy: init }\n'));
      await until(async () => (await dryRun({})).made?.spec.initContainers?.[0]?.name === 'penstock-vram', {
        what: 'the new policy to hold',
      });
      const command = ['vram-use', '--hold', String(SLOT), '1'];
      const said = await create(cluster, podOf('by-init', { command, labels: { app: 'by-init' } }));
      expect(said.code).toBe(0);
      await readyPods(cluster, 'app=by-init', 1);
      expect(await told(cluster, 'by-init')).toEqual([
        `${SLOT} bytes: allocated`,
        '1 bytes: out of memory',
        `0 of ${SLOT} bytes free`,
      ]);
      await kubectl(cluster, ['-n', SLICED, 'delete', 'pod', 'by-init', '--wait=true']);
      await cluster.kube('-n', SYSTEM, 'delete', 'configmap', 'penstock-slicing');
      await until(async () => limits((await dryRun({})).made)?.[WHOLE] !== undefined, { what: 'the policy to end' });
    });
  });
}

/** Of the newest Event with this reason; core/v1 has the same one under either API. */
async function eventNote({ cluster }: Installation, namespace: string, reason: string): Promise<string | undefined> {
  const args = ['get', 'events', '--field-selector', `reason=${reason}`, '-o', 'jsonpath={.items[*].message}'];
  const text = await cluster.kube('-n', namespace, ...args);
  return text === '' ? undefined : text;
}
