// SPDX-License-Identifier: Apache-2.0
// Which Placements are about a node, without asking each of them about each node: hundreds of them select among thousands.
import type { PlacementSharing } from './sharing.ts';

type Labels = Readonly<Record<string, string>>;

export interface PlacementIndex {
  /** Those that are about a node with these labels, in the order in which they were given. */
  about(labels: Labels): readonly PlacementSharing[];
  /** What they name as shared resources, of whatever nodes. */
  readonly resources: ReadonlySet<string>;
}

interface Selection {
  readonly place: number;
  readonly sharing: PlacementSharing;
  readonly selector: readonly (readonly [key: string, value: string])[];
}

export function indexPlacements(all: readonly PlacementSharing[]): PlacementIndex {
  const always: Selection[] = [];
  /** By the first label that a selector asks for: a node has some tens of labels, of which few are selected by. */
  const byLabel = new Map<string, Selection[]>();
  all.forEach((sharing, place) => {
    if (sharing.nodeSelectors.length === 0) always.push({ place, sharing, selector: [] });
    for (const nodeSelector of sharing.nodeSelectors) {
      const selector = Object.entries(nodeSelector);
      const [first] = selector;
      const selection = { place, sharing, selector };
      if (first === undefined) always.push(selection);
      else {
        const key = labelOf(...first);
        const known = byLabel.get(key);
        if (known) known.push(selection);
        else byLabel.set(key, [selection]);
      }
    }
  });
  return {
    about: (labels) => {
      const found = new Map(always.map(({ place, sharing }) => [place, sharing]));
      if (byLabel.size > 0) {
        for (const [key, value] of Object.entries(labels)) {
          for (const { place, sharing, selector } of byLabel.get(labelOf(key, value)) ?? []) {
            if (selector.every(([wanted, its]) => Object.hasOwn(labels, wanted) && labels[wanted] === its))
              found.set(place, sharing);
          }
        }
      }
      return [...found].toSorted(([a], [b]) => a - b).map(([, sharing]) => sharing);
    },
    resources: new Set(all.flatMap(({ resourceName }) => resourceName ?? [])),
  };
}

function labelOf(key: string, value: string): string {
  return `${key}=${value}`;
}
