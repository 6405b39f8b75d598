// SPDX-License-Identifier: Apache-2.0
// What the nodes offer, by resource, and the ways to serve a pod's containers from it.
import { memoryOf } from './fit.ts';
import type { Ask, Place } from './fit.ts';
import type { GpuNode, SharedOffer } from './inventory.ts';

/** Per node its offers by name; per resource the nodes that have it. */
export interface Market {
  readonly nodes: readonly GpuNode[];
  /** Nodes to which only a taint keeps the pod from going. */
  readonly barred: readonly GpuNode[];
  readonly places: ReadonlyMap<string, readonly Place[]>;
}

/** `isAble`: what others offer cannot serve the pod, whatever it is. */
export function marketOf(
  nodes: readonly GpuNode[],
  barred: readonly GpuNode[],
  isAble: (node: GpuNode, offer: SharedOffer) => boolean,
): Market {
  const places = new Map<string, Place[]>();
  for (const node of nodes) {
    for (const offer of node.shared) {
      if (!isAble(node, offer)) continue;
      const known = places.get(offer.resource);
      if (known) known.push({ node, offer });
      else places.set(offer.resource, [{ node, offer }]);
    }
  }
  return { nodes, barred, places };
}

/** One resource for all containers, each in turn; and of MIG the smallest instance that is enough for each. */
export function assignments(asks: readonly Ask[], market: Market): string[][] {
  const names = [...market.places.keys()].sort();
  const all = names.map((name) => asks.map(() => name));
  if (asks.length < 2) return all;
  const instances = names
    .filter((name) => market.places.get(name)?.every(({ offer }) => offer.mode === 'MIG'))
    .map((name) => ({ name, memory: Math.min(...(market.places.get(name) ?? []).map((place) => memoryOf(place, 1))) }))
    .sort((a, b) => a.memory - b.memory);
  const mixed = asks.flatMap((ask) => {
    const { size } = ask;
    return instances.find(({ memory }) => size.kind === 'ratio' || memory >= size.bytes)?.name ?? [];
  });
  return mixed.length === asks.length && new Set(mixed).size > 1 ? [...all, mixed] : all;
}
