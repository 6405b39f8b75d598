// SPDX-License-Identifier: Apache-2.0
import { ANNOTATIONS, LABELS, SLICE_ANNOTATIONS, UNIT_POD } from '#crds/names.ts';
import type { ContainerStatus, Job, JobCondition, Pod } from './objects.ts';
import type { UnitObservation, UnitPhase, UnitTrouble } from './unit-driver.ts';

/** Longest sentence taken from a pod: container messages may be whole logs. */
const MAX_MESSAGE = 300;

/** A unit as its Job and pods show it. Pods run ahead of the Job's status by up to a second, so both are asked. */
export function observeUnit(job: Job, pods: readonly Pod[]): UnitObservation {
  const { metadata, status } = job;
  const labels = metadata.labels ?? {};
  const pod = newest(pods);
  const ready = Math.max(status?.ready ?? 0, pods.filter((candidate) => isTrue(candidate, 'Ready')).length);
  const phase = phaseOf(job, ready);
  return {
    unit: metadata.name,
    revision: labels[LABELS.revision] ?? '',
    placement: labels[LABELS.placement] ?? '',
    phase,
    createdAt: timeOf(metadata.creationTimestamp) ?? 0,
    // A finished Job has no ready pod, whatever a late status says.
    ready: isFinished(job) ? 0 : ready,
    retired: metadata.annotations?.[ANNOTATIONS.retired] !== undefined,
    leaving: metadata.deletionTimestamp !== undefined,
    // The Job may say "ready" before the pod is in our cache; a ready pod has a node.
    ...(ready > 0 ? { scheduledAt: timeOf(metadata.creationTimestamp) ?? 0 } : {}),
    ...(pod === undefined ? {} : times(pod)),
    ...(isWhole(job, pod) ? { whole: true } : {}),
    ...found(job, pod, phase),
  };
}

/** Whether nothing of the Job can run any more. FailureTarget and SuccessCriteriaMet come earlier, while the pod still ends. */
export function isFinished(job: Job): boolean {
  return jobCondition(job, 'Complete') !== undefined || jobCondition(job, 'Failed') !== undefined;
}

function phaseOf(job: Job, ready: number): UnitPhase {
  if (jobCondition(job, 'Complete') !== undefined) return 'Succeeded';
  if (jobCondition(job, 'Failed') !== undefined) return 'Failed';
  return ready > 0 ? 'Running' : 'Starting';
}

/** The admission server leaves a record on every pod that it slices: without one nobody was there, or no node could serve it. */
function isWhole(job: Job, pod: Pod | undefined): boolean {
  const asked = job.spec.template.metadata.annotations?.[SLICE_ANNOTATIONS.slice] === 'true';
  return asked && pod !== undefined && pod.metadata.annotations?.[SLICE_ANNOTATIONS.record] === undefined;
}

function times(pod: Pod): Pick<UnitObservation, 'scheduledAt' | 'startedAt'> {
  const scheduledAt = timeOf(trueCondition(pod, 'PodScheduled')?.lastTransitionTime);
  const startedAt = modelStart(pod);
  return { ...(scheduledAt === undefined ? {} : { scheduledAt }), ...(startedAt === undefined ? {} : { startedAt }) };
}

type Found = Pick<UnitObservation, 'message' | 'trouble'>;

function found(job: Job, pod: Pod | undefined, phase: UnitPhase): Found {
  if (phase === 'Failed') return failure(job, pod);
  return phase === 'Starting' ? obstacle(pod) : {};
}

/** What keeps a pod from starting, if anything. */
function obstacle(pod: Pod | undefined): Found {
  if (pod === undefined) return {};
  const scheduled = pod.status?.conditions?.find((condition) => condition.type === 'PodScheduled');
  if (scheduled?.status === 'False') return trouble('Unschedulable', scheduled.message ?? 'no node fits');
  for (const container of containers(pod)) {
    const reason = container.state?.waiting?.reason;
    if (reason === undefined) continue;
    const kind = WAITING[reason];
    if (kind !== undefined) return trouble(kind, waitingMessage(container, reason));
  }
  return {};
}

/** Waiting reasons of the kubelet that do not pass by themselves soon; ContainerCreating and PodInitializing do. */
const WAITING: Readonly<Record<string, UnitTrouble>> = {
  ErrImagePull: 'ImagePull',
  ImagePullBackOff: 'ImagePull',
  InvalidImageName: 'ImagePull',
  ErrImageNeverPull: 'ImagePull',
  ImageInspectError: 'ImagePull',
  RegistryUnavailable: 'ImagePull',
  CreateContainerConfigError: 'Config',
  CreateContainerError: 'Config',
  RunContainerError: 'Config',
  CrashLoopBackOff: 'Config',
};

function waitingMessage(container: ContainerStatus, reason: string): string {
  const died = container.lastState?.terminated;
  if (died !== undefined) return `container ${container.name} ${exitOf(died)}, and is restarted (${reason})`;
  const detail = container.state?.waiting?.message;
  return `container ${container.name}: ${reason}${detail === undefined ? '' : `: ${detail}`}`;
}

function failure(job: Job, pod: Pod | undefined): Found {
  const died = pod && containers(pod).find((container) => (container.state?.terminated?.exitCode ?? 0) !== 0);
  const state = died?.state?.terminated;
  if (died !== undefined && state !== undefined) return { message: shorten(`container ${died.name} ${exitOf(state)}`) };
  // Evicted or preempted pods carry a reason of their own and no exit code.
  const { reason, message } = pod?.status ?? {};
  if (reason !== undefined) return { message: shorten(message === undefined ? reason : `${reason}: ${message}`) };
  return { message: shorten(jobCondition(job, 'Failed')?.message ?? 'the Job failed') };
}

function exitOf(state: { exitCode: number; reason?: string; message?: string }): string {
  const reason = state.reason === undefined || state.reason === 'Error' ? '' : ` (${state.reason})`;
  const message = state.message === undefined || state.message === '' ? '' : `: ${state.message.trim()}`;
  return `exited with code ${state.exitCode}${reason}${message}`;
}

/**
 * When the model first ran. Each restart of a native sidecar overwrites its start time, so after one the pod's own start stands in:
 * a little too early, which only matters to a server that has already failed once.
 */
function modelStart(pod: Pod): number | undefined {
  const all = containers(pod);
  const model = all.find(({ name }) => name === UNIT_POD.server) ?? all.find(({ name }) => name === UNIT_POD.worker);
  if (model === undefined) return undefined;
  if (model.restartCount > 0) return timeOf(pod.status?.startTime);
  return timeOf(model.state?.running?.startedAt ?? model.state?.terminated?.startedAt);
}

function containers(pod: Pod): readonly ContainerStatus[] {
  return [...(pod.status?.initContainerStatuses ?? []), ...(pod.status?.containerStatuses ?? [])];
}

function newest(pods: readonly Pod[]): Pod | undefined {
  return pods.toSorted((a, b) => createdAt(b) - createdAt(a))[0];
}

function createdAt(pod: Pod): number {
  return timeOf(pod.metadata.creationTimestamp) ?? 0;
}

function jobCondition(job: Job, type: string): JobCondition | undefined {
  return job.status?.conditions?.find((condition) => condition.type === type && condition.status === 'True');
}

function trueCondition(pod: Pod, type: string): JobCondition | undefined {
  return pod.status?.conditions?.find((condition) => condition.type === type && condition.status === 'True');
}

function isTrue(pod: Pod, type: string): boolean {
  return trueCondition(pod, type) !== undefined;
}

function timeOf(text: string | undefined): number | undefined {
  const ms = text === undefined ? Number.NaN : Date.parse(text);
  return Number.isNaN(ms) ? undefined : ms;
}

function trouble(kind: UnitTrouble, message: string): Found {
  return { trouble: kind, message: shorten(message) };
}

/** At most 300 characters. */
export function shorten(text: string): string {
  return text.length <= MAX_MESSAGE ? text : `${text.slice(0, MAX_MESSAGE - 1)}…`;
}
