// SPDX-License-Identifier: Apache-2.0
// Which of several shares is the better one.
import type { Grant } from './choose.ts';
import { memoryOf } from './fit.ts';
import type { Ask, Place } from './fit.ts';

/** Smaller is better: what has been given before, the administrator's order, memory given beyond what was asked for, nodes, memory. */
export function rankOf(
  asks: readonly Ask[],
  grants: readonly Grant[],
  offered: readonly (readonly Place[])[],
  nodes: number,
  preference: readonly string[],
): number[] {
  const granted = offered.map((places, index) =>
    Math.max(...places.map((place) => memoryOf(place, grants[index]?.slots ?? 1))),
  );
  const spare = granted.reduce((sum, memory, index) => sum + (asks[index]?.size.kind === 'vram' ? memory : 0), 0);
  const isMig = offered.every((places) => places.every(({ offer }) => offer.mode === 'MIG'));
  const preferred = Math.min(...grants.map(({ resource }) => preferenceOf(resource, preference)));
  // Instances of MIG are of one kind: among them it is their size that counts.
  const place = isMig && preferred < preference.length ? firstInstance(preference, preferred) : preferred;
  const changed = asks.filter(({ held }, index) => held !== undefined && held.resource !== grants[index]?.resource);
  return [changed.length, place, spare, -nodes, granted.reduce((sum, memory) => sum + memory, 0)];
}

function preferenceOf(resource: string, preference: readonly string[]): number {
  const index = preference.indexOf(resource);
  return index < 0 ? preference.length : index;
}

function firstInstance(preference: readonly string[], otherwise: number): number {
  const index = preference.findIndex((name) => name.includes('/mig-'));
  return index < 0 ? otherwise : index;
}
