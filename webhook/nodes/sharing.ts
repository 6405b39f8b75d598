// SPDX-License-Identifier: Apache-2.0
// What people say about a shared resource: settings of the policy by its name, Placements by the nodes that they select.
import type { Placement } from '#crds/placement.gen.ts';
import { parseQuantity } from '#kube/quantity.ts';
import type { SharingMode } from '../slice/inventory.ts';
import type { Note } from './findings.ts';

/** One entry of `sharedResources` in the policy. Memory is in bytes. */
export interface SharedResource {
  readonly name: string;
  readonly mode?: SharingMode;
  readonly failRequestsGreaterThanOne?: boolean;
  readonly packsOnOneCard?: boolean;
  readonly slotsPerGPU?: number;
  readonly memoryPerSlot?: number;
}

/** `spec.sharing` of a Placement and the nodes that it is about. */
export interface PlacementSharing {
  readonly placement: string;
  /** A node matches one of them; none: every node. */
  readonly nodeSelectors: readonly Readonly<Record<string, string>>[];
  readonly mode: SharingMode | 'Exclusive';
  readonly resourceName?: string;
  readonly slotsPerGPU?: number;
  readonly memoryPerSlot?: number;
}

/** What holds for one resource of one node. */
export interface Statement {
  readonly mode?: SharingMode;
  readonly slots?: number;
  readonly memoryPerSlot?: number;
  readonly refusesMultiple: boolean;
  readonly packs: boolean;
}

/** Undefined when the Placement says nothing about sharing. */
export function toPlacementSharing({ metadata, spec }: Placement): PlacementSharing | undefined {
  if (spec.sharing === undefined) return undefined;
  const { memoryPerSlot, ...sharing } = spec.sharing;
  const memory = parseQuantity(memoryPerSlot);
  const { nodeSelectors = [] } = spec.kubernetes;
  return {
    ...sharing,
    placement: metadata.name,
    // An empty selector is every node.
    nodeSelectors: nodeSelectors.some((selector) => Object.keys(selector).length === 0) ? [] : nodeSelectors,
    ...(memory !== undefined && memory >= 1 ? { memoryPerSlot: Math.floor(memory) } : {}),
  };
}

/**
 * Everything said about one resource, a Placement winning over the settings. Where Placements contradict each other the least
 * generous of what they say holds, so that quotas never add up to more than any of them would allow.
 */
export function statementOf(
  resource: string,
  isMig: boolean,
  settings: readonly SharedResource[],
  placements: readonly PlacementSharing[],
  note: Note,
): Statement {
  const setting = settings.find(({ name }) => name === resource);
  const about = placements.filter(
    ({ mode, resourceName }) =>
      mode !== 'Exclusive' && (resourceName === undefined ? (mode === 'MIG') === isMig : resourceName === resource),
  );
  const pick = <T>(what: string, said: readonly T[], careful: (values: readonly T[]) => T): T | undefined => {
    const values = [...new Set(said)];
    if (values.length < 2) return values[0];
    const chosen = careful(values);
    const names = about.map(({ placement }) => placement).join(', ');
    note(
      'PlacementsDisagree',
      `Placements ${names} say ${what} ${values.join(' and ')} of ${resource}; ${String(chosen)} holds`,
    );
    return chosen;
  };
  const slots = pick(
    'slotsPerGPU',
    about.flatMap((it) => it.slotsPerGPU ?? []),
    (all) => Math.max(...all),
  );
  const memory = pick(
    'memoryPerSlot',
    about.flatMap((it) => it.memoryPerSlot ?? []),
    (all) => Math.min(...all),
  );
  const modes = about.flatMap((it) => (it.mode === 'Exclusive' ? [] : [it.mode]));
  // MPS is the more careful reading: its plugin refuses more than one unit.
  const mode = pick<SharingMode>('mode', modes, (all) => (all.includes('MPS') ? 'MPS' : 'TimeSlicing'));
  return withoutAbsent({
    mode: mode ?? setting?.mode,
    slots: slots ?? setting?.slotsPerGPU,
    memoryPerSlot: memory ?? setting?.memoryPerSlot,
    refusesMultiple: setting?.failRequestsGreaterThanOne ?? false,
    packs: setting?.packsOnOneCard ?? false,
  });
}

type Absent<T> = { [K in keyof T]: T[K] | undefined };

function withoutAbsent(said: Absent<Required<Statement>>): Statement {
  return Object.fromEntries(Object.entries(said).filter(([, value]) => value !== undefined)) as unknown as Statement;
}
