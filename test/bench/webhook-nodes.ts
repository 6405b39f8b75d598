// SPDX-License-Identifier: Apache-2.0
// The GPU nodes of this benchmark: once as Kubernetes has them, and once as the peer is told.

type Json = Readonly<Record<string, unknown>>;

interface GpuNode {
  readonly name: string;
  readonly cardMebibytes: number;
}

const SHARED = 'nvidia.com/gpu.shared';
const SLOTS = 4;
const MIB = 2 ** 20;
/** One card each, of two sizes: the smaller ones decide on quotas. */
const NODES: readonly GpuNode[] = Array.from({ length: 16 }, (_, at) => ({
  name: `gpu-${at}`,
  cardMebibytes: at % 2 === 0 ? 40_960 : 81_920,
}));

function labelsOf({ name, cardMebibytes }: GpuNode): Readonly<Record<string, string>> {
  return {
    'kubernetes.io/hostname': name,
    'kubernetes.io/os': 'linux',
    'kubernetes.io/arch': 'amd64',
    'nvidia.com/gpu.count': '1',
    'nvidia.com/gpu.memory': String(cardMebibytes),
    'nvidia.com/gpu.product': `NVIDIA-A100-PCIE-${Math.round(cardMebibytes / 1024)}GB`,
    'nvidia.com/gpu.replicas': String(SLOTS),
    'nvidia.com/gpu.sharing-strategy': 'time-slicing',
  };
}

/** As GPU feature discovery and the device plugin of NVIDIA leave them (time-slicing, renamed), on a node that mounts images. */
export function kubeNodes(kubelet: string): Json[] {
  return NODES.map((node) => {
    const amounts = { cpu: '64', memory: '512Gi', pods: '110', 'nvidia.com/gpu': '0', [SHARED]: String(SLOTS) };
    return {
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name: node.name, labels: labelsOf(node) },
      status: {
        capacity: amounts,
        allocatable: amounts,
        conditions: [{ type: 'Ready', status: 'True', reason: 'KubeletReady', message: 'ready' }],
        nodeInfo: {
          architecture: 'amd64',
          bootID: '',
          containerRuntimeVersion: 'containerd://2.4.2',
          kernelVersion: '6.12.0',
          kubeProxyVersion: '',
          kubeletVersion: kubelet,
          machineID: '',
          operatingSystem: 'linux',
          osImage: 'Debian',
          systemUUID: '',
        },
      },
    };
  });
}

/** See test/bench/webhook-peer/plan.go. */
export function peerConfig(image: string, pullPolicy: string): Json {
  const nodes = NODES.map((node) => ({
    name: node.name,
    labels: labelsOf(node),
    cards: 1,
    cardMemory: node.cardMebibytes * MIB,
    slotsPerGPU: SLOTS,
    allocatable: SLOTS,
    refusesMultiple: false,
  }));
  return { resource: SHARED, image, pullPolicy, nodes };
}
