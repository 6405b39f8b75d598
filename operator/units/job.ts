// SPDX-License-Identifier: Apache-2.0
import type { Placement } from '#crds/placement.gen.ts';
import { LABELS, MANAGED_BY, UNIT_POD } from '#crds/names.ts';
import { underTemplate } from '#kube/pod-template.ts';
import type { Container, Job, PodSpec, Secret } from './objects.ts';
import { TOKEN_KEY, graceSeconds } from './job-settings.ts';
import type { JobSettings } from './job-settings.ts';
import { adapterContainer, handlerContainer, serverContainer } from './containers.ts';
import { scheduling } from './scheduling.ts';
import { sliceAnnotations } from './slice.ts';
import type { UnitPlan } from './unit-driver.ts';

/**
 * The Job of one unit (DESIGN §5): one pod that is never restarted and never timed out. It has no owner, since deleting the app
 * would cascade to a busy worker; the operator reaps it.
 */
export function unitJob(plan: UnitPlan, placement: Placement, settings: JobSettings): Job {
  const labels = unitLabels(plan, placement);
  const annotations = sliceAnnotations(plan.app.spec.resources?.gpu);
  const metadata = { labels, ...(Object.keys(annotations).length > 0 ? { annotations } : {}) };
  const pod = { metadata, spec: podSpec(plan, placement, settings) };
  return {
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: { name: plan.unit, namespace: plan.app.metadata.namespace ?? '', labels },
    spec: {
      parallelism: 1,
      completions: 1,
      backoffLimit: 0,
      // A pod that is being evicted may still hold a request: the Job has not failed before it has ended.
      podReplacementPolicy: 'Failed',
      template: underTemplate(pod, plan.app.spec.worker.podTemplate, {
        adapter: plan.app.spec.worker.archetype === 'Sidecar',
      }),
    },
  };
}

function unitLabels(plan: UnitPlan, placement: Placement): Record<string, string> {
  return {
    [LABELS.managedBy]: MANAGED_BY,
    [LABELS.app]: plan.app.metadata.name,
    [LABELS.appUid]: plan.appUid,
    [LABELS.unit]: plan.unit,
    [LABELS.revision]: plan.revision,
    [LABELS.placement]: plan.placement,
    [LABELS.pricing]: placement.spec.pricing,
  };
}

/** PodSecurity `restricted`; the user comes from the image, which must name one that is not root. */
const POD_SECURITY = { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } };

function podSpec(plan: UnitPlan, placement: Placement, settings: JobSettings): PodSpec {
  const { worker, request } = plan.app.spec;
  const sidecar = worker.archetype === 'Sidecar';
  const containers: { initContainers?: Container[]; containers: Container[] } = sidecar
    ? { initContainers: [serverContainer(plan, settings)], containers: [adapterContainer(plan, settings)] }
    : { containers: [handlerContainer(plan, settings)] };
  return {
    restartPolicy: 'Never',
    terminationGracePeriodSeconds: graceSeconds(request.timeoutSeconds),
    // A unit has no business with the API server, and Service variables would leak what else runs in the namespace.
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    securityContext: POD_SECURITY,
    ...containers,
    volumes: [
      { name: UNIT_POD.tokenVolume, secret: { secretName: plan.unit, defaultMode: 0o444 } },
      { name: UNIT_POD.tmpVolume, emptyDir: {} },
      ...(sidecar ? [{ name: UNIT_POD.serverTmpVolume, emptyDir: {} }] : []),
    ],
    ...scheduling(plan.app.spec.resources?.gpu, placement.spec.kubernetes),
  };
}

/** The unit's token. Owned by the Job, so that it goes with it whoever deletes the Job. */
export function unitSecret(job: Job, token: string): Secret {
  const { name, namespace = '', uid = '', labels = {} } = job.metadata;
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: {
      name,
      namespace,
      labels,
      ownerReferences: [
        { apiVersion: 'batch/v1', kind: 'Job', name, uid, controller: true, blockOwnerDeletion: false },
      ],
    },
    type: 'Opaque',
    stringData: { [TOKEN_KEY]: token },
  };
}
