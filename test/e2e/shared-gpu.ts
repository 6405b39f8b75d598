// SPDX-License-Identifier: Apache-2.0
// One card of the node's own, split into slots: the device plugin with its fake driver, and the labels that NVIDIA's GPU feature
// discovery would write for it.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Cluster } from '#test/servers/cluster-run.ts';
import { until } from '#test/until.ts';

const program = join(import.meta.dirname, 'device-plugin.child.ts');
const MIB = 2 ** 20;

export const SHARED = 'nvidia.com/gpu.shared';
/** The same card once more, by a plugin with failRequestsGreaterThanOne; no label tells that. */
export const STRICT = 'nvidia.com/gpu.strict';
export const SLOTS = 4;
/** The card is known by it wherever it is seen. */
export const CARD_UUID = 'GPU-5a1eca4d-0000-4000-8000-70656e73746f';
/** Of the card. */
export const CARD_BYTES = 16 * 1024 * MIB;

const labels: Readonly<Record<string, string>> = {
  'nvidia.com/gpu.present': 'true',
  'nvidia.com/gpu.count': '1',
  'nvidia.com/gpu.memory': String(CARD_BYTES / MIB),
  'nvidia.com/gpu.product': 'Fake-16GB',
  'nvidia.com/gpu.replicas': String(SLOTS),
  'nvidia.com/gpu.sharing-strategy': 'time-slicing',
  'nvidia.com/mig.capable': 'false',
  'nvidia.com/mps.capable': 'false',
};

export interface SharedGpu {
  /** The units of each container that was given some, oldest first. */
  readonly allocations: readonly (readonly string[])[];
  stop(): Promise<void>;
}

/** Resolves when the scheduler can see the slots. */
export async function shareGpu(cluster: Cluster): Promise<SharedGpu> {
  const heap = join(cluster.state, 'fake-gpu.heap');
  const offers = [SHARED, STRICT].flatMap((name) => ['--resource', `${name}=${SLOTS}`]);
  const args = [
    program,
    ...offers,
    '--refuse-multiple',
    STRICT,
    '--uuid',
    CARD_UUID,
    '--memory',
    String(CARD_BYTES),
    '--heap',
    heap,
  ];
  const plugin = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const allocations: string[][] = [];
  createInterface(plugin.stdout).on('line', (line) => {
    const { devices } = JSON.parse(line) as { devices?: string[] };
    if (devices !== undefined) allocations.push(devices);
  });
  const node = (await cluster.kube('get', 'nodes', '-o', 'name')).trim();
  await cluster.kube('label', '--overwrite', node, ...Object.entries(labels).map(([key, value]) => `${key}=${value}`));
  const allocatable = `jsonpath={.status.allocatable.${SHARED.replaceAll('.', '\\.')}}`;
  await until(async () => (await cluster.kube('get', node, '-o', allocatable)) === String(SLOTS), {
    what: `the node to advertise ${SLOTS} ${SHARED}`,
  });
  return {
    allocations,
    stop: async () => {
      const ended = once(plugin, 'exit');
      plugin.stdin.end();
      await ended;
    },
  };
}
