// SPDX-License-Identifier: Apache-2.0
import { isDeepStrictEqual } from 'node:util';
import { element } from '#crds/field-error.ts';
import type { Placement, PlacementSharing } from '#crds/placement.gen.ts';
import { normalise } from '#crds/normalise.ts';
import { PLACEMENT_SHAPE } from '#crds/shapes.gen.ts';
import { validatePlacement } from '#crds/validate.ts';
import { isObject } from '#base/json.ts';
import { parseQuantity } from '#kube/quantity.ts';
import type { AdmissionHandler, Verdict } from '../admission/types.ts';
import type { GpuNode, Inventory } from '../slice/inventory.ts';
import { ofChanges } from './changes.ts';
import { forbidden, invalid, refusalOf } from './problems.ts';
import type { Problem } from './problems.ts';

export interface PlacementChecks {
  readonly inventory: () => Inventory;
  /** Undefined: not known. */
  readonly namespaceExists: (name: string) => boolean | undefined;
}

const ALLOWED: Verdict = {};
/** Of overrides that are for a workstation: standalone calls itself so. */
const LOCAL = 'local';
const MEMORY = 'spec.sharing.memoryPerSlot';
/** Cards report a little less or more than their name says. */
const TOLERANCE = 1.01;

/** The validating handler of Placements. It asks nobody anything: what it goes by is watched. */
export function validatePlacements(checks: PlacementChecks): AdmissionHandler {
  return ({ object, oldObject, name }) => {
    if (object === undefined || isLeaving(object)) return ALLOWED;
    if (oldObject !== undefined && isDeepStrictEqual(object['spec'], oldObject['spec'])) return ALLOWED;
    const changed = (found: readonly Problem[]): readonly Problem[] =>
      oldObject === undefined ? found : ofChanges(found, oldObject, object);
    // Checked against the schema and filled with defaults by the API server; by somebody else perhaps not.
    const placement = normalise(PLACEMENT_SHAPE, { metadata: {}, ...object }) as Placement;
    const what = `Placement ${JSON.stringify(name ?? placement.metadata.name ?? '')}`;
    const form = changed(formProblems(object));
    if (form.length > 0) return { refusal: refusalOf(422, what, form) };
    const nodes = nodesOf(placement, checks.inventory());
    const problems = changed(memoryProblems(placement, nodes ?? []));
    if (problems.length > 0) return { refusal: refusalOf(422, what, problems) };
    const warnings = [...placementWarnings(placement, checks), ...sharingWarnings(placement, nodes)];
    return warnings.length > 0 ? { warnings } : ALLOWED;
  };
}

function formProblems({ apiVersion, kind, metadata, spec }: Readonly<Record<string, unknown>>): Problem[] {
  const { name, generateName } = (metadata ?? {}) as Record<string, unknown>;
  const given = Object.entries({ name, generateName }).filter(([, value]) => value !== undefined);
  const verdict = validatePlacement({ apiVersion, kind, metadata: Object.fromEntries(given), spec });
  return verdict.ok ? [] : verdict.errors.map(invalid);
}

/** GPU nodes that one of the node selectors matches; undefined while nodes are not known. */
function nodesOf({ spec }: Placement, inventory: Inventory): readonly GpuNode[] | undefined {
  if (!inventory.synced) return undefined;
  const selectors = spec.kubernetes.nodeSelectors ?? [];
  if (selectors.length === 0) return inventory.nodes;
  return inventory.nodes.filter(({ labels }) =>
    selectors.some((selector) => Object.entries(selector).every(([key, value]) => labels[key] === value)),
  );
}

/** What is said of a slot becomes a pod's quota: slots that add up to more than a card are promises that nobody can keep. */
function memoryProblems({ spec }: Placement, nodes: readonly GpuNode[]): Problem[] {
  const { memoryPerSlot, slotsPerGPU, mode } = spec.sharing ?? {};
  const perSlot = parseQuantity(memoryPerSlot);
  if (perSlot === undefined || mode === 'MIG') return [];
  const slots = slotsPerGPU ?? 1;
  const small = nodes.find(({ cardMemory }) => cardMemory > 0 && perSlot * slots > cardMemory * TOLERANCE);
  if (small === undefined) return [];
  const card = `a card of node ${small.name} has ${mebibytes(small.cardMemory)}`;
  const message = `${slots} slots of ${memoryPerSlot} are more than ${card}`;
  return [forbidden(MEMORY, message, ['spec.sharing.slotsPerGPU', 'spec.kubernetes.nodeSelectors'])];
}

function placementWarnings({ metadata, spec }: Placement, { namespaceExists }: PlacementChecks): string[] {
  const allowed = spec.allowedNamespaces ?? [];
  const warnings = allowed.flatMap((name, index) =>
    name !== '*' && namespaceExists(name) === false
      ? [`${element('spec.allowedNamespaces', index)}: there is no namespace ${name} (yet)`]
      : [],
  );
  if (allowed.length === 0) warnings.push('spec.allowedNamespaces: is empty, so no app may use this placement');
  if (allowed.includes('*') && allowed.length > 1) {
    warnings.push("spec.allowedNamespaces: '*' stands for all namespaces, the others add nothing");
  }
  if (metadata.name === LOCAL) {
    warnings.push(
      'metadata.name: local is what a workstation calls itself; overrides meant for it would hold here, too',
    );
  }
  for (const [index, { key, effect }] of (spec.kubernetes.tolerations ?? []).entries()) {
    if (key !== undefined) continue;
    const taints = effect === undefined ? 'every taint' : `every taint with effect ${effect}`;
    warnings.push(`${element('spec.kubernetes.tolerations', index)}: tolerates ${taints}, those of broken nodes, too`);
  }
  return warnings;
}

function sharingWarnings({ spec }: Placement, nodes: readonly GpuNode[] | undefined): string[] {
  const { sharing } = spec;
  if (sharing === undefined || nodes === undefined) return [];
  if (nodes.length === 0) return ['spec.sharing: no node with GPUs matches spec.kubernetes.nodeSelectors (yet)'];
  const offers = nodes.flatMap((node) => node.shared.map((offer) => ({ node: node.name, offer })));
  if (sharing.mode === 'Exclusive') {
    const [shared] = offers;
    return shared === undefined
      ? []
      : [`spec.sharing.mode: node ${shared.node} shares its GPUs as ${shared.offer.resource}`];
  }
  return [...resourceWarnings(sharing, offers), ...slotWarnings(sharing, offers)];
}

type Offers = readonly { readonly node: string; readonly offer: GpuNode['shared'][number] }[];

function resourceWarnings({ resourceName }: PlacementSharing, offers: Offers): string[] {
  if (resourceName === undefined || offers.some(({ offer }) => offer.resource === resourceName)) return [];
  const there = [...new Set(offers.map(({ offer }) => offer.resource))].join(', ') || 'none';
  return [`spec.sharing.resourceName: no node of this placement advertises ${resourceName}; there is ${there}`];
}

function slotWarnings({ slotsPerGPU, resourceName }: PlacementSharing, offers: Offers): string[] {
  if (slotsPerGPU === undefined) return [];
  const other = offers.find(
    ({ offer }) => (resourceName === undefined || offer.resource === resourceName) && offer.slotsPerGPU !== slotsPerGPU,
  );
  if (other === undefined) return [];
  return [
    `spec.sharing.slotsPerGPU: node ${other.node} splits each GPU into ${other.offer.slotsPerGPU}, not ${slotsPerGPU}`,
  ];
}

function mebibytes(bytes: number): string {
  return `${Math.floor(bytes / 2 ** 20)}Mi`;
}

function isLeaving({ metadata }: Readonly<Record<string, unknown>>): boolean {
  return isObject(metadata) && (metadata['deletionTimestamp'] ?? undefined) !== undefined;
}
