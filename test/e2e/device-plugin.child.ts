// SPDX-License-Identifier: Apache-2.0
// device-plugin.child --resource NAME=UNITS... [--uuid UUID] [--refuse-multiple NAME]... [--memory BYTES] [--heap FILE] [--drivers DIR] [--folder DIR]
// One fake card behind the kubelet's device plugin socket, as NVIDIA's plugin and container toolkit would have it: each unit is a
// replica of the card, and a container that gets one finds the (fake) driver in its library path. Prints a line of JSON for
// each registration and allocation; ends with its standard input, and the node's units with it.
import { chmodSync, closeSync, openSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { servePlugin, type Offer } from './device-plugin/plugin.ts';
import type { ContainerGrant } from './device-plugin/wire.ts';

/** Fixed in the kubelet, whatever its --root-dir. */
const KUBELET_FOLDER = '/var/lib/kubelet/device-plugins';
const HEAP_IN_CONTAINER = '/run/fake-gpu/heap';
/** Where the container toolkit puts the driver on Debian and Ubuntu. */
const LIBRARIES = { x64: '/usr/lib/x86_64-linux-gnu', arm64: '/usr/lib/aarch64-linux-gnu' } as const;

const { values } = parseArgs({
  options: {
    uuid: { type: 'string', default: 'GPU-5a1eca4d-0000-4000-8000-70656e73746f' },
    resource: { type: 'string', multiple: true, default: [] },
    memory: { type: 'string', default: String(16 * 2 ** 30) },
    heap: { type: 'string', default: '/tmp/penstock-fake-gpu.heap' },
    drivers: { type: 'string', default: join(import.meta.dirname, '../../dist/native/fake') },
    folder: { type: 'string', default: KUBELET_FOLDER },
    'refuse-multiple': { type: 'string', multiple: true, default: [] },
  },
});

const say = (line: object): void => console.log(JSON.stringify(line));

function offer(text: string): Offer {
  const [, resource, units] = /^([a-z0-9./-]+)=([1-9]\d{0,2})$/.exec(text) ?? [];
  if (resource === undefined) throw new Error(`--resource ${text}: write for example nvidia.com/gpu.shared=4`);
  const devices = Array.from({ length: Number(units) }, (_, i) => `${values.uuid}::${i}`);
  return { resource, devices, grant: (ids) => grant(resource, ids) };
}

function grant(resource: string, devices: readonly string[]): ContainerGrant {
  if (values['refuse-multiple'].includes(resource) && devices.length > 1)
    throw new Error(`request for ${resource}: ${devices.length}, at most 1 is granted`);
  say({ allocated: resource, devices });
  const arch = process.arch === 'arm64' ? 'arm64' : 'x64';
  const library = (name: string) => ({
    containerPath: join(LIBRARIES[arch], name),
    hostPath: resolve(values.drivers, name),
    readOnly: true,
  });
  return {
    // The card's memory is one for all containers: the fake driver keeps it in that file.
    envs: {
      NVIDIA_VISIBLE_DEVICES: values.uuid,
      FAKE_CUDA_UUIDS: values.uuid,
      FAKE_CUDA_MEMORY: values.memory,
      FAKE_CUDA_HEAP: HEAP_IN_CONTAINER,
    },
    mounts: [
      library('libcuda.so.1'),
      library('libnvidia-ml.so.1'),
      { containerPath: HEAP_IN_CONTAINER, hostPath: values.heap, readOnly: false },
    ],
  };
}

const offers = values.resource.map(offer);
if (offers.length === 0) throw new Error('nothing is offered: --resource NAME=UNITS');
closeSync(openSync(values.heap, 'a'));
chmodSync(values.heap, 0o666); // containers run as any user
const plugins = await Promise.all(offers.map((one) => servePlugin(values.folder, one)));
for (const { resource } of plugins) say({ registered: resource });
process.stdin.resume().once('end', () => {
  for (const plugin of plugins) plugin.stop();
});
