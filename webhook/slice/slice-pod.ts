// SPDX-License-Identifier: Apache-2.0
// The decision on one pod: a pure function of the pod and of what is known of nodes, policy and delivery.
import type { Operation } from 'fast-json-patch';
import { SLICE_ANNOTATIONS } from '#crds/names.ts';
import type { FieldCause } from '../admission/types.ts';
import { readWish } from './annotations.ts';
import type { Wish } from './annotations.ts';
import { gpuPlaces } from './asks.ts';
import type { GpuPlace } from './asks.ts';
import { chooseNow } from './choices.ts';
import type { Chooser } from './choices.ts';
import type { Choice } from './choose.ts';
import type { Delivery, NoopReason, PolicyDecision, SliceContext, SliceReport, WorkloadType } from './context.ts';
import type { Ask } from './fit.ts';
import { alreadyAsks, annotateStatus, mutate } from './mutate.ts';
import { places } from './pod.ts';
import type { Pod } from './pod.ts';
import { shareOf } from './share.ts';
import { statusOf } from './status.ts';
import { conflict } from './volumes.ts';

export interface Sliced {
  readonly outcome: SliceReport['outcome'];
  readonly reason?: NoopReason;
  readonly causes?: readonly FieldCause[];
  readonly patch?: readonly Operation[];
  readonly warnings: readonly string[];
  readonly workloadType: WorkloadType | 'none';
  /** The rule of the policy that enrolled the pod or had it ignored. */
  readonly rule?: string | undefined;
  readonly gpusSaved: number;
  /** The pod asked for a slice and keeps whole GPUs: why. */
  readonly wholeBecause?: string;
}

const MIRROR = 'kubernetes.io/config.mirror';

/** `choose`: another way to the same choice. */
export function slicePod(pod: Pod, context: SliceContext, choose: Chooser = chooseNow): Sliced {
  const { spec, metadata } = pod;
  if (!isReadable(pod)) return noop('malformed');
  const all = places(spec);
  const asking = gpuPlaces(pod, all, context.settings.gpuResource);
  if (asking === 'odd') return noop('malformed');
  if (asking.length === 0) return nothingToSlice(pod, context);
  const names = all.map(({ container }) => container.name);
  const wish = readWish(metadata.annotations, names);
  const base = { workloadType: wish.workloadType?.type ?? context.policy?.workloadType ?? ('none' as const) };
  if (wish.causes.length > 0) return { ...base, outcome: 'refused', causes: wish.causes, warnings: [], gpusSaved: 0 };
  const left = leftAlone(pod, wish, context);
  if (left !== undefined) return left;
  const enrolled = wish.slice === undefined ? context.policy : undefined;
  const { delivery } = context;
  const sliced =
    delivery === undefined
      ? noop('no-delivery', [NOT_READY])
      : sliceGpus(pod, asking, { wish, enrolled, delivery, context, choose });
  return { ...sliced, ...base, ...(enrolled ? { rule: enrolled.rule } : {}) };
}

const NOT_READY = 'penstock: the nodes are not known yet; the pod keeps its whole GPUs';

interface Question {
  readonly wish: Wish;
  /** The rule that enrolled the pod. */
  readonly enrolled: PolicyDecision | undefined;
  readonly delivery: Delivery;
  readonly context: SliceContext;
  readonly choose: Chooser;
}

function sliceGpus(pod: Pod, asking: readonly GpuPlace[], question: Question): Sliced {
  const { wish, enrolled, delivery, context } = question;
  const { settings } = context;
  const policy = context.policy?.action === 'slice' ? context.policy : undefined;
  const asks = asking.map(({ container, phase, gpus, sliced, current }): Ask => {
    const size = shareOf(container.name, wish, policy);
    return { container: container.name, phase, gpus, size, held: sliced ? current : undefined };
  });
  const before = asking.every(({ sliced }) => sliced);
  const choice = question.choose(pod.spec, asks, context);
  if (choice.kind === 'whole') return before ? noop('already-sliced') : keepsWhole(choice.reason, choice.why);
  const obstacle =
    alreadyAsks(asking, choice) ??
    conflict(
      pod.spec,
      asking.map(({ container }) => container),
    );
  if (obstacle !== undefined) return keepsWhole('malformed', obstacle);
  const dryRun = wish.dryRun || enrolled?.dryRun === true;
  const status = statusOf(asks, choice, settings.gpuResource, dryRun && !before);
  const gpusSaved = before ? 0 : choice.saved;
  if (dryRun && !before) {
    return { outcome: 'dry-run', patch: annotateStatus(pod, status), warnings: [], workloadType: 'none', gpusSaved };
  }
  const { operations, warnings } = mutate(pod, { places: asking, choice, status, delivery, settings });
  if (operations.length === 0) return noop('already-sliced');
  const told = [...warnings.map((text) => `penstock: ${text}`), ...spreadWarnings(asks, choice)];
  return { outcome: 'mutated', patch: operations, warnings: told, workloadType: 'none', gpusSaved };
}

/** Why a pod with GPUs is not looked at further. */
function leftAlone({ spec, metadata }: Pod, wish: Wish, { policy, inventory }: SliceContext): Sliced | undefined {
  if (wish.slice === false) return noop('opted-out');
  if (wish.slice === undefined) {
    if (policy === undefined) return noop('not-asked', idleWarnings(wish));
    if (policy.action === 'ignore') return { ...noop('policy-ignored', idleWarnings(wish)), rule: policy.rule };
  }
  if (spec.os?.name === 'windows') return noop('windows');
  if (metadata.annotations?.[MIRROR] !== undefined) return noop('mirror');
  return inventory.synced ? undefined : noop('not-synced', [NOT_READY]);
}

function nothingToSlice({ metadata }: Pod, { settings }: SliceContext): Sliced {
  const asked = metadata.annotations?.[SLICE_ANNOTATIONS.slice] === 'true';
  return noop(
    'no-gpu',
    asked ? [`penstock: no container asks for ${settings.gpuResource}, so there is nothing to slice`] : [],
  );
}

function keepsWhole(reason: NoopReason, why: string): Sliced {
  return { ...noop(reason, [`penstock: not sliced, keeps its whole GPUs: ${why}`]), wholeBecause: why };
}

/** Sizes that nobody acts on are likely a slip. */
function idleWarnings({ size, sizes }: Wish): string[] {
  const from = size?.from ?? sizes.values().next().value?.from;
  return from === undefined ? [] : [`penstock: ${from} has no effect without ${SLICE_ANNOTATIONS.slice}: "true"`];
}

function spreadWarnings(asks: readonly Ask[], choice: Extract<Choice, { kind: 'share' }>): string[] {
  return asks.flatMap(({ container, gpus }, index) => {
    if (gpus === 1) return [];
    const resource = choice.grants[index]?.resource;
    return [
      `penstock: ${container}: ${gpus} units of ${resource} can be of fewer than ${gpus} GPUs; the quota holds on each that it sees`,
    ];
  });
}

function noop(reason: NoopReason, warnings: readonly string[] = []): Sliced {
  return { outcome: 'noop', reason, warnings, workloadType: 'none', gpusSaved: 0 };
}

/** The API server sends what its types allow; anybody else may send anything. */
function isReadable({ metadata, spec }: Pod): boolean {
  const lists: unknown[] = [spec?.containers, spec?.initContainers ?? [], spec?.volumes ?? []];
  return typeof metadata === 'object' && metadata !== null && lists.every((list) => Array.isArray(list));
}
