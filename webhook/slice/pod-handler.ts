// SPDX-License-Identifier: Apache-2.0
// The admission handlers for pods: they read the request, decide, and tell what became of it. Pods pass in every trouble of our own.
import type { AdmissionHandler, AdmissionRequest, FieldCause, Verdict } from '../admission/types.ts';
import { createChooser } from './choices.ts';
import type { SliceContext, SliceDeps, SliceEvent, SliceReport } from './context.ts';
import { joinSlices } from './ephemeral.ts';
import type { Pod } from './pod.ts';
import { slicePod } from './slice-pod.ts';
import type { Sliced } from './slice-pod.ts';

export function createPodHandler(deps: SliceDeps): AdmissionHandler {
  const choose = createChooser();
  return (request) => {
    try {
      const pod = podOf(request.object);
      if (request.operation !== 'CREATE' || pod === undefined) return {};
      const sliced = slicePod(pod, contextOf(deps, request, pod), choose);
      deps.report(reportOf(request, pod, sliced));
      if (sliced.wholeBecause !== undefined && !request.dryRun) {
        deps.emit({
          regarding: regarding(request, pod),
          type: 'Warning',
          reason: 'NotSliced',
          message: `${nameOf(pod)} ${sliced.restored ? 'has' : 'keeps'} its whole GPUs${sliced.restored ? ' again' : ''}: ${sliced.wholeBecause}`,
        });
      }
      return verdictOf(sliced);
    } catch (error) {
      return passed(deps, request, error);
    }
  };
}

export function createEphemeralHandler(deps: Pick<SliceDeps, 'report'>): AdmissionHandler {
  return (request) => {
    try {
      const pod = podOf(request.object);
      const old = podOf(request.oldObject);
      if (pod === undefined || old === undefined) return {};
      const { operations, warnings, ...ephemeral } = joinSlices(pod, old);
      if (ephemeral.limited + ephemeral.unlimited > 0) {
        deps.report({ ...aboutNothing(request, pod), outcome: 'ephemeral', ephemeral });
      }
      return { warnings, ...(operations.length > 0 ? { patch: operations } : {}) };
    } catch (error) {
      return passed(deps, request, error);
    }
  };
}

function contextOf(deps: SliceDeps, { namespace = '' }: AdmissionRequest, pod: Pod): SliceContext {
  return {
    inventory: deps.inventory(),
    policy: deps.policy({ namespace, labels: pod.metadata?.labels ?? {} }),
    policyUnread: deps.policyUnread(),
    delivery: deps.delivery(namespace),
    settings: deps.settings(),
  };
}

function verdictOf({ causes, patch, warnings }: Sliced): Verdict {
  if (causes !== undefined) return { refusal: { code: 422, message: sentence(causes), causes } };
  return { warnings, ...(patch === undefined || patch.length === 0 ? {} : { patch }) };
}

function sentence(causes: readonly FieldCause[]): string {
  return causes.map(({ field, message }) => `${field}: ${message}`).join('; ');
}

function reportOf(request: AdmissionRequest, pod: Pod, sliced: Sliced): SliceReport {
  const { outcome, reason, workloadType, rule, gpusSaved, slices, restored, again } = sliced;
  return {
    namespace: request.namespace ?? '',
    pod: nameOf(pod),
    outcome,
    ...(reason === undefined ? {} : { reason }),
    workloadType,
    ...(rule === undefined ? {} : { rule }),
    gpusSaved,
    ...(slices === undefined ? {} : { slices }),
    ...(restored ? { restored } : {}),
    ...(again ? { again } : {}),
    requestDryRun: request.dryRun,
  };
}

/** A report on a pod on which nothing was decided. */
function aboutNothing(
  { namespace = '', name = '', dryRun }: AdmissionRequest,
  pod?: Pod,
): Omit<SliceReport, 'outcome'> {
  return {
    namespace,
    pod: pod === undefined ? name : nameOf(pod),
    workloadType: 'none',
    gpusSaved: 0,
    requestDryRun: dryRun,
  };
}

/** A fault of ours is no reason to keep a pod from running. */
function passed(deps: Pick<SliceDeps, 'report'>, request: AdmissionRequest, error: unknown): Verdict {
  deps.report({ ...aboutNothing(request), outcome: 'noop', reason: 'internal-error', error });
  return { warnings: ['penstock: an internal error; the pod passes as it is'] };
}

function podOf(object: AdmissionRequest['object']): Pod | undefined {
  return object as Pod | undefined;
}

/** As the pod says, whose names are checked. */
function nameOf({ metadata }: Pod): string {
  return metadata?.name || (metadata?.generateName ? `${metadata.generateName}*` : '');
}

function regarding({ namespace = '' }: AdmissionRequest, { metadata }: Pod): SliceEvent['regarding'] {
  const owner = metadata.ownerReferences?.find(({ controller }) => controller === true);
  if (owner === undefined) return { apiVersion: 'v1', kind: 'Pod', namespace, name: metadata.name ?? '' };
  const { apiVersion, kind, uid } = owner;
  return { apiVersion, kind, namespace, name: owner.name, uid };
}
