// SPDX-License-Identifier: Apache-2.0
// What becomes of a pod as it is: a pure function of the pod and of what is known of nodes, policy and delivery.
import type { Operation } from 'fast-json-patch';
import { CASTOPS_ANNOTATIONS, SLICE_ANNOTATIONS } from '#crds/names.ts';
import type { FieldCause } from '../admission/types.ts';
import { readWish } from './annotations.ts';
import type { Wish } from './annotations.ts';
import { gpuPlaces } from './asks.ts';
import type { GpuPlace } from './asks.ts';
import { crowded, excess } from './bounds.ts';
import type { Chooser } from './choices.ts';
import type { Choice } from './choose.ts';
import type {
  Delivery,
  NoopReason,
  PolicyDecision,
  SliceContext,
  SlicedContainer,
  SliceReport,
  WorkloadType,
} from './context.ts';
import type { Ask } from './fit.ts';
import { alreadyAsks, annotateStatus, mutate } from './mutate.ts';
import { needsOf } from './needs.ts';
import type { Needs } from './needs.ts';
import { places } from './pod.ts';
import type { Place, Pod } from './pod.ts';
import { isReadable } from './readable.ts';
import { shareOf } from './share.ts';
import { NOT_SLICED, statusOf, wholeStatus } from './status.ts';
import { visibleWarnings } from './visible.ts';
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
  /** What its containers were given, or would be in a dry run. */
  readonly slices?: readonly SlicedContainer[];
  /** The pod asked for a slice and keeps whole GPUs, or is given them back: why. */
  readonly wholeBecause?: string;
  /** What an earlier slice had left was taken out of the pod. */
  readonly restored?: true;
  /** It had slices when it came. */
  readonly again?: true;
}

const MIRROR = 'kubernetes.io/config.mirror';
/** Names in a warning. */
const MAX_NAMED = 4;

export function decide(pod: Pod, context: SliceContext, choose: Chooser): Sliced {
  const { spec } = pod;
  if (!isReadable(pod)) return noop('malformed');
  const crowd = crowded(spec);
  if (crowd !== undefined) return tooLarge(pod, context, crowd);
  const all = places(spec);
  const asking = gpuPlaces(pod, all, context.settings);
  if (asking === 'odd') return noop('malformed');
  const exchanged = new Map(asking.map(({ container, current }) => [container, current.resource]));
  const needs = needsOf(spec, all, ({ container }) => exchanged.get(container));
  const tooMuch = excess(pod, asking, needs);
  if (tooMuch !== undefined) return asking.length > 0 ? tooLarge(pod, context, tooMuch) : noop('too-large');
  if (asking.length === 0) return nothingToSlice(pod, all, context);
  return decideOnGpus(pod, { all, asking, needs, context, choose });
}

function decideOnGpus(pod: Pod, given: Given): Sliced {
  const { all, context } = given;
  const { metadata } = pod;
  const names = all.map(({ container }) => container.name);
  const wish = readWish(metadata.annotations, names);
  const base = { workloadType: wish.workloadType?.type ?? context.policy?.workloadType ?? ('none' as const) };
  if (wish.causes.length > 0) return { ...base, outcome: 'refused', causes: wish.causes, warnings: [], gpusSaved: 0 };
  const doubts = wish.doubts.map((text) => `penstock: ${text}`);
  const left = leftAlone(pod, wish, context);
  if (left !== undefined) return { ...left, warnings: [...doubts, ...left.warnings] };
  const enrolled = wish.slice === undefined ? context.policy : undefined;
  const { delivery } = context;
  const sliced =
    delivery === undefined ? noop('no-delivery', [NOT_READY]) : sliceGpus(pod, { ...given, wish, enrolled, delivery });
  const warnings = [...doubts, ...sliced.warnings];
  return { ...sliced, ...base, warnings, ...(enrolled ? { rule: enrolled.rule } : {}) };
}

const NOT_READY = 'penstock: the nodes are not known yet; the pod stays as it is';
const POLICY_UNREAD =
  'penstock: the document in ConfigMap penstock-slicing has mistakes (see its Events); until they are mended nothing is sliced, and the pod stays as it is';

const NAMESPACE_UNKNOWN =
  'penstock: the labels of the namespace are not known yet, by which the policy goes; the pod stays as it is';

interface Given {
  readonly all: readonly Place[];
  readonly asking: readonly GpuPlace[];
  /** What the pod asks for beside its GPUs. */
  readonly needs: Needs | undefined;
  readonly context: SliceContext;
  readonly choose: Chooser;
}

interface Question extends Given {
  readonly wish: Wish;
  /** The rule that enrolled the pod. */
  readonly enrolled: PolicyDecision | undefined;
  readonly delivery: Delivery;
}

function sliceGpus(pod: Pod, question: Question): Sliced {
  const { all, asking, wish, enrolled, delivery, context } = question;
  const { settings } = context;
  const policy = context.policy?.action === 'slice' ? context.policy : undefined;
  const wanted = asking.map(({ container, phase, gpus, intact, current }): Ask => {
    const size = shareOf(container.name, wish, policy);
    return { container: container.name, phase, gpus, size, held: intact ? current : undefined };
  });
  const before = asking.some(({ sliced }) => sliced);
  const dryRun = (wish.dryRun ?? enrolled?.dryRun === true) && !before;
  const choice = question.choose(pod.spec, wanted, context, question.needs);
  if (choice.kind === 'whole') return staysWhole(pod, choice.reason, choice.why, dryRun);
  const containers = asking.map(({ container }) => container);
  const obstacle = alreadyAsks(all, asking, choice) ?? conflict(pod.spec, containers);
  if (obstacle !== undefined) return staysWhole(pod, 'malformed', obstacle, dryRun);
  const status = statusOf(wanted, choice, settings.gpuResource, dryRun);
  const gpusSaved = before ? 0 : choice.saved;
  const slices = slicesOf(wanted, choice);
  if (dryRun) return { ...told(pod, status, gpusSaved), slices };
  const mutation = mutate(pod, { places: asking, choice, status, delivery, settings });
  if (typeof mutation === 'string') return staysWhole(pod, 'malformed', mutation, dryRun);
  const { operations, warnings } = mutation;
  if (operations.length === 0) return noop('already-sliced');
  const said = [
    ...[...warnings, ...visibleWarnings(all)].map((text) => `penstock: ${text}`),
    ...shareWarnings(wanted, choice),
    ...(before ? [] : claimWarnings(all)),
  ];
  const mutated = { patch: operations, warnings: said, workloadType: 'none', gpusSaved, slices } as const;
  return { outcome: 'mutated', ...mutated, ...(before ? { again: true } : {}) };
}

function slicesOf(asking: readonly Ask[], { grants }: Extract<Choice, { kind: 'share' }>): SlicedContainer[] {
  return asking.flatMap(({ container }, index) => {
    const grant = grants[index];
    return grant === undefined ? [] : [{ container, resource: grant.resource, units: grant.units, quota: grant.quota }];
  });
}

function staysWhole(pod: Pod, reason: NoopReason, why: string, dryRun: boolean): Sliced {
  const status = wholeStatus(why, dryRun);
  if (dryRun) return told(pod, status, 0);
  const patch = annotateStatus(pod, status);
  return { ...keepsWhole(reason, why), ...(typeof patch === 'string' || patch.length === 0 ? {} : { patch }) };
}

/** A dry run: only the annotation, and once. */
function told(pod: Pod, status: string, gpusSaved: number): Sliced {
  const patch = annotateStatus(pod, status);
  if (typeof patch === 'string') return noop('malformed', [`penstock: no dry run: ${patch}`]);
  if (patch.length === 0) return noop('already-sliced');
  return { outcome: 'dry-run', patch, warnings: [], workloadType: 'none', gpusSaved };
}

/** Why a pod with GPUs is not looked at further. */
function leftAlone({ spec, metadata }: Pod, wish: Wish, context: SliceContext): Sliced | undefined {
  const { policy, inventory } = context;
  if (wish.slice === false) return noop('opted-out');
  if (context.policyUnread) return noop('no-policy', [POLICY_UNREAD]);
  if (policy?.action === 'unknown' && !saysAll(wish)) return noop('no-namespace', [NAMESPACE_UNKNOWN]);
  if (wish.slice === undefined) {
    if (policy === undefined) return noop('not-asked', idleWarnings(wish));
    if (policy.action === 'ignore') return { ...noop('policy-ignored', idleWarnings(wish)), rule: policy.rule };
  }
  if (spec.os?.name === 'windows') return noop('windows');
  if (metadata.annotations?.[MIRROR] !== undefined) return noop('mirror');
  return inventory.synced ? undefined : noop('not-synced', [NOT_READY]);
}

/** Whatever the policy says, it would be the same slice. */
function saysAll({ slice, size, workloadType }: Wish): boolean {
  return slice === true && (size ?? workloadType) !== undefined;
}

function nothingToSlice(pod: Pod, all: readonly Place[], { settings }: SliceContext): Sliced {
  if (pod.metadata.annotations?.[SLICE_ANNOTATIONS.slice] !== 'true') return noop('no-gpu');
  const why = `penstock: no container asks for ${settings.gpuResource}, so there is nothing to slice`;
  return noop('no-gpu', [why, ...claimWarnings(all)]);
}

/** As far as can be told without reading all annotations. */
function asks({ metadata }: Pod, { policy }: SliceContext): boolean {
  const own = metadata.annotations?.[SLICE_ANNOTATIONS.slice];
  const castops = metadata.annotations?.[CASTOPS_ANNOTATIONS.slice];
  return own === undefined ? castops === 'true' || policy?.action === 'slice' : own === 'true';
}

function tooLarge(pod: Pod, context: SliceContext, why: string): Sliced {
  return asks(pod, context) ? keepsWhole('too-large', why) : noop('too-large');
}

function keepsWhole(reason: NoopReason, why: string): Sliced {
  return { ...noop(reason, [`penstock: ${NOT_SLICED}: ${why}`]), wholeBecause: why };
}

/** What nobody acts on is likely a slip; what castops means by its own is its affair. */
function idleWarnings({ size, sizes, workloadType, dryRun }: Wish): string[] {
  const said = [size?.from, sizes.values().next().value?.from, workloadType?.from];
  const from =
    said.find((key) => key !== undefined && !key.startsWith(CASTOPS_DOMAIN)) ??
    (dryRun ? SLICE_ANNOTATIONS.dryRun : undefined);
  return from === undefined ? [] : [`penstock: ${from} has no effect without ${SLICE_ANNOTATIONS.slice}: "true"`];
}

const CASTOPS_DOMAIN = CASTOPS_ANNOTATIONS.slice.slice(0, CASTOPS_ANNOTATIONS.slice.indexOf('/') + 1);

function shareWarnings(asking: readonly Ask[], choice: Extract<Choice, { kind: 'share' }>): string[] {
  const waits = choice.waits === undefined ? [] : [`penstock: sliced, and no node takes the pod now: ${choice.waits}`];
  const spread = asking.flatMap(({ container, gpus }, index) => {
    if (gpus === 1) return [];
    const resource = choice.grants[index]?.resource;
    return [
      `penstock: ${container}: ${gpus} units of ${resource} can be of fewer than ${gpus} GPUs; the quota holds on each that it sees`,
    ];
  });
  return [...spread, ...waits];
}

/** Devices by dynamic resource allocation are another way to a GPU, without a limit of ours. */
function claimWarnings(all: readonly Place[]): string[] {
  const names = all.flatMap(({ container }) =>
    (container.resources?.claims?.length ?? 0) > 0 ? [container.name] : [],
  );
  if (names.length === 0) return [];
  const shown = names.slice(0, MAX_NAMED).join(', ');
  return [`penstock: ${shown}: resource claims are not looked at; what they allocate is not limited`];
}

function noop(reason: NoopReason, warnings: readonly string[] = []): Sliced {
  return { outcome: 'noop', reason, warnings, workloadType: 'none', gpusSaved: 0 };
}
