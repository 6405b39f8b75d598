// SPDX-License-Identifier: Apache-2.0
// Pods, nodes and contexts for tests of this folder and of the API server's answer to its patches.
import { applyPatch } from 'fast-json-patch';
import type { Operation } from 'fast-json-patch';
import type { SliceContext, SliceSettings } from './context.ts';
import type { GpuNode, SharedOffer } from './inventory.ts';
import type { Container, Pod, PodSpec } from './pod.ts';

export const GIB = 2 ** 30;
export const SHARED = 'nvidia.com/gpu.shared';

export const settings: SliceSettings = {
  gpuResource: 'nvidia.com/gpu',
  preference: [],
  tolerations: [],
  nodeRequirements: [],
};

const PLENTY = { cpu: 64_000, memory: 512 * GIB, 'ephemeral-storage': 1024 * GIB };

/** A node with one card of 80 GiB in four time-slices; its memory per slot is the card's part unless stated. */
export function gpuNode(
  name: string,
  changes: Partial<GpuNode> & {
    readonly offer?: Partial<SharedOffer>;
    /** Amounts that are allocatable: others than what it advertises, and than plenty. */
    readonly now?: Readonly<Record<string, number>>;
  } = {},
): GpuNode {
  const { offer = {}, now = {}, ...rest } = changes;
  const cards = rest.cards ?? 1;
  const cardMemory = rest.cardMemory ?? 80 * GIB;
  const slotsPerGPU = offer.slotsPerGPU ?? 4;
  const shared = rest.shared ?? [
    {
      resource: SHARED,
      mode: 'TimeSlicing',
      slotsPerGPU,
      memoryPerSlot: Math.floor(cardMemory / slotsPerGPU),
      allocatable: cards * slotsPerGPU,
      refusesMultiple: false,
      onOneCard: cards === 1,
      ...offer,
    },
  ];
  const advertised = rest.advertised ?? new Map(shared.map(({ resource, allocatable }) => [resource, allocatable]));
  return {
    name,
    labels: { 'kubernetes.io/hostname': name, 'nvidia.com/gpu.count': String(cards), ...rest.labels },
    taints: rest.taints ?? [],
    unschedulable: rest.unschedulable ?? false,
    cards,
    cardMemory,
    shared,
    advertised,
    allocatable: rest.allocatable ?? new Map([...Object.entries(PLENTY), ...advertised, ...Object.entries(now)]),
    selectedBy: rest.selectedBy ?? [],
  };
}

export function contextOf(nodes: readonly GpuNode[], changes: Partial<SliceContext> = {}): SliceContext {
  return {
    inventory: { synced: true, nodes },
    delivery: { kind: 'image', image: 'registry.example/penstock-vram:1' },
    settings,
    ...changes,
  };
}

/** A container that asks for GPUs by limits and requests, as the API server's defaults leave it. */
export function gpuContainer(name: string, gpus = 1, changes: Partial<Container> = {}): Container {
  const resources = { limits: { 'nvidia.com/gpu': String(gpus) }, requests: { 'nvidia.com/gpu': String(gpus) } };
  return { name, image: 'app:1', resources, ...changes };
}

/** A pod that opts in; `annotations` come on top. */
export function slicedPod(annotations: Readonly<Record<string, string>> = {}, spec: Partial<PodSpec> = {}): Pod {
  return {
    metadata: { name: 'pod', namespace: 'team', annotations: { 'penstock.dev/slice': 'true', ...annotations } },
    spec: { containers: [gpuContainer('main')], volumes: [], tolerations: [], ...spec },
  };
}

/** What the API server makes of a patch: another pod, and an error where an operation is none or does not fit. */
export function patched(pod: Pod, patch: readonly Operation[] = []): Pod {
  return applyPatch(structuredClone(pod), structuredClone([...patch]), true).newDocument;
}
