// SPDX-License-Identifier: Apache-2.0
// What is legal and unwise: kubectl shows it, and the app is taken all the same.
import { element } from '#crds/field-error.ts';
import type { InferenceApp, InferenceAppEnv } from '#crds/inference-app.gen.ts';
import { GPU } from '#crds/names.ts';
import type { Placement } from '#crds/placement.gen.ts';
import { unitImages } from '#crds/unit-images.ts';
import { parseQuantity } from '#kube/quantity.ts';
import { takes } from './app-problems.ts';
import { isFloating, parseImage } from './image-reference.ts';

/** Of apps that list none (operator/decide/placement.ts). */
const DEFAULT_PLACEMENT = 'default';
/** A model is read from disk or network, checked and copied to the card: less than this is a rare one. */
const SHORT_START_SECONDS = 120;
/** The operator caps a unit's grace (operator/units/job-settings.ts). */
const LONGEST_GRACE_SECONDS = 3_600 - 30;
/** Names whose values nobody should find in a manifest. */
const SECRET_NAME = /(^|_)(PASSWORD|PASSWD|SECRET|TOKEN|API_?KEY|PRIVATE_?KEY|CREDENTIALS?)($|_)/i;

export interface PlacementView {
  /** False: they have not been listed yet, so nothing can be said about one that is not there. */
  readonly synced: boolean;
  of(name: string): Placement | undefined;
}

/** Sentences that begin with the path of the field. */
export function appWarnings(app: InferenceApp, namespace: string, placements: PlacementView): string[] {
  return [
    ...imageWarnings(app),
    ...placementWarnings(app, namespace, placements),
    ...resourceWarnings(app),
    ...timeWarnings(app),
    ...secretWarnings(app),
    ...sliceWarnings(app, placements),
  ];
}

function imageWarnings({ spec }: InferenceApp): string[] {
  const images = unitImages(spec);
  const floating = images
    .filter(({ image }) => isFloating(parseImage(image)))
    .map(({ path, image }) => `${path}: ${image} may mean another image tomorrow; name a tag or a digest`);
  const own = images.some(({ path }) => path === 'spec.worker.image' || path.endsWith('.overrides.image'));
  return own ? floating : [...floating, 'spec.worker.image: no unit can start in a cluster without an image'];
}

function placementWarnings({ spec }: InferenceApp, namespace: string, placements: PlacementView): string[] {
  if (!placements.synced) return ['spec.placements: could not be looked up; the operator will'];
  const listed = spec.placements ?? [];
  if (listed.length > 0) {
    return listed.flatMap(({ name }, index) =>
      placements.of(name) === undefined
        ? [`${element('spec.placements', index)}.name: there is no placement ${name} (yet)`]
        : [],
    );
  }
  const fallback = placements.of(DEFAULT_PLACEMENT);
  if (fallback !== undefined && takes(fallback, namespace)) return [];
  const why = fallback === undefined ? 'does not exist' : `does not allow namespace ${namespace}`;
  return [`spec.placements: none is named, and placement ${DEFAULT_PLACEMENT} ${why}: no unit can start`];
}

function resourceWarnings({ spec }: InferenceApp): string[] {
  if (spec.resources?.memory !== undefined) return [];
  return ['spec.resources.memory: without it a unit may take all memory of its node'];
}

function timeWarnings({ spec }: InferenceApp): string[] {
  const { scaling, worker, request, resources } = spec;
  const warnings: string[] = [];
  const short = scaling.startupGraceSeconds < SHORT_START_SECONDS;
  if (resources?.gpu !== undefined && worker.archetype === 'Handler' && short) {
    warnings.push(
      `spec.scaling.startupGraceSeconds: ${scaling.startupGraceSeconds} s are short for a model that is loaded onto a GPU; a unit that needs longer is removed`,
    );
  }
  const ready = worker.server?.readyTimeoutSeconds ?? 0;
  if (ready > scaling.startupGraceSeconds) {
    warnings.push(
      `spec.scaling.startupGraceSeconds: ${scaling.startupGraceSeconds} s end before worker.server.readyTimeoutSeconds (${ready} s)`,
    );
  }
  if (request.timeoutSeconds > LONGEST_GRACE_SECONDS) {
    warnings.push(
      'spec.request.timeoutSeconds: a unit that is asked to stop is given an hour at most; longer requests are then lost and repeated',
    );
  }
  return warnings;
}

function secretWarnings({ spec }: InferenceApp): string[] {
  const of = (env: readonly InferenceAppEnv[] | undefined, path: string): string[] =>
    (env ?? []).flatMap(({ name, value }, index) =>
      SECRET_NAME.test(name) && (value ?? '') !== ''
        ? [
            `${element(path, index)}.value: ${name} looks like a secret that everybody can read; use valueFrom.secretKeyRef`,
          ]
        : [],
    );
  return [
    ...of(spec.worker.env, 'spec.worker.env'),
    ...(spec.placements ?? []).flatMap(({ overrides }, index) =>
      of(overrides?.env, `${element('spec.placements', index)}.overrides.env`),
    ),
  ];
}

/** Slices that no node of a placement can give, as far as the placement says itself what its nodes share. */
function sliceWarnings({ spec }: InferenceApp, placements: PlacementView): string[] {
  const slice = spec.resources?.gpu?.slice;
  if (slice === undefined) return [];
  const names = spec.placements?.map(({ name }) => name) ?? [DEFAULT_PLACEMENT];
  return names.flatMap((name) => {
    const sharing = placements.of(name)?.spec.sharing;
    const fault = sharing === undefined ? undefined : misfit(slice, sharing);
    return fault === undefined ? [] : [`spec.resources.gpu.slice: ${fault} in placement ${name}`];
  });
}

type Slice = NonNullable<NonNullable<NonNullable<InferenceApp['spec']['resources']>['gpu']>['slice']>;
type Sharing = NonNullable<Placement['spec']['sharing']>;

function misfit(slice: Slice, sharing: Sharing): string | undefined {
  const { mode, resourceName, slotsPerGPU, memoryPerSlot } = sharing;
  if (slice.mode === 'MIG') {
    if (mode !== 'MIG') return `MIG instances are asked for, and GPUs are shared by ${mode}`;
    const wanted = `${GPU.migPrefix}${slice.profile}`;
    return resourceName === undefined || resourceName === wanted ? undefined : `${wanted} is not ${resourceName}`;
  }
  if (slice.mode !== 'Shared') return undefined;
  if (mode === 'Exclusive') return 'GPUs are not split, so it stays a whole one';
  if (slice.slots !== undefined && slotsPerGPU !== undefined && slice.slots >= slotsPerGPU) {
    return `${slice.slots} of ${slotsPerGPU} slots stay a whole GPU`;
  }
  const [memory, perSlot] = [parseQuantity(slice.memory), parseQuantity(memoryPerSlot)];
  if (memory === undefined || perSlot === undefined || slotsPerGPU === undefined) return undefined;
  return memory > perSlot * slotsPerGPU
    ? `${slice.memory} are more than ${slotsPerGPU} slots of ${memoryPerSlot}`
    : undefined;
}
