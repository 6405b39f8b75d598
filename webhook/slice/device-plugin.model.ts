// SPDX-License-Identifier: Apache-2.0
// What becomes of slices on one node, for tests: the scheduler counts units, the kubelet hands them on, the device plugin picks cards.
import type { GpuNode, SharedOffer } from './inventory.ts';
import { effectiveSum, places } from './pod.ts';
import type { Phase, Pod } from './pod.ts';

export type Draw = (below: number) => number;

interface Wanted {
  readonly phase: Phase;
  readonly units: number;
  readonly quota: number;
}

/** Starts pods on the node for a while, on whatever cards have units free: how many, and the bytes that quotas on the fullest card add up to. */
export function fill(
  node: GpuNode,
  offer: SharedOffer,
  pods: readonly Pod[],
  draw: Draw,
): [started: number, most: number] {
  const free = Array.from({ length: node.cards }, () => offer.slotsPerGPU);
  const used = free.map(() => 0);
  let started = 0;
  for (let tries = 0; tries < 4 * node.cards * offer.slotsPerGPU && pods.length > 0; tries += 1) {
    const pod = pods[draw(pods.length)];
    const peak = pod && start(wantedOf(pod, offer.resource), free, offer.onOneCard, draw);
    peak?.forEach((bytes, card) => (used[card] = (used[card] ?? 0) + bytes));
    started += peak ? 1 : 0;
  }
  return [started, Math.max(...used)];
}

/** As the scheduler asks, who knows nothing of cards and slots; 0: the pod wants none. */
export function unitsOf(pod: Pod, resource: string): number {
  const wanted = wantedOf(pod, resource);
  return effectiveSum(
    wanted.map(({ phase }) => phase),
    wanted.map(({ units }) => units),
  );
}

function wantedOf(pod: Pod, resource: string): Wanted[] {
  return places(pod.spec).map(({ container, phase }) => ({
    phase,
    units: Number(container.resources?.limits?.[resource] ?? 0),
    quota: Number(pod.metadata.annotations?.[`${container.name}.vram.penstock.dev/quota`] ?? 0),
  }));
}

/**
 * Bytes of quota on each card when most of the pod runs; undefined where it does not start. What an init container had is the first
 * that those after it get; sidecars keep theirs (kubelet, devicemanager, devicesToReuse).
 */
function start(wanted: readonly Wanted[], free: number[], onOneCard: boolean, draw: Draw): number[] | undefined {
  const before = [...free];
  const peak = free.map(() => 0);
  const running = free.map(() => 0);
  const reusable: number[] = [];
  for (const { phase, units, quota } of wanted) {
    const again = Array.from(
      { length: Math.min(units, reusable.length) },
      () => reusable.splice(draw(reusable.length), 1)[0] ?? 0,
    );
    const fresh = take(free, units - again.length, onOneCard, draw);
    if (fresh === undefined) {
      free.splice(0, free.length, ...before);
      return undefined;
    }
    const cards = [...again, ...fresh];
    for (const card of new Set(cards)) {
      if (phase !== 'init') running[card] = (running[card] ?? 0) + quota;
      peak[card] = Math.max(peak[card] ?? 0, (running[card] ?? 0) + (phase === 'init' ? quota : 0));
    }
    if (phase === 'init') reusable.push(...cards);
  }
  return peak;
}

/** Units from cards with free ones: of one card if the plugin packs, else of the most different ones or of any, by the draw. */
function take(free: number[], units: number, onOneCard: boolean, draw: Draw): number[] | undefined {
  if (units === 0) return [];
  if (onOneCard) {
    const fitting = free.flatMap((count, card) => (count >= units ? [card] : []));
    if (fitting.length === 0) return undefined;
    const card = fitting[draw(fitting.length)] ?? 0;
    free[card] = (free[card] ?? 0) - units;
    return Array.from({ length: units }, () => card);
  }
  if (free.reduce((sum, count) => sum + count, 0) < units) return undefined;
  const spread = draw(2) === 0;
  const taken: number[] = [];
  while (taken.length < units) {
    const open = free.flatMap((count, card) => (count > 0 ? [card] : []));
    const other = open.filter((card) => !taken.includes(card));
    const from = spread && other.length > 0 ? other : open;
    const card = from[draw(from.length)] ?? 0;
    free[card] = (free[card] ?? 0) - 1;
    taken.push(card);
  }
  return taken;
}
