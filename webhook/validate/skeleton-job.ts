// SPDX-License-Identifier: Apache-2.0
import { dirname } from 'node:path/posix';
import type { InferenceApp } from '#crds/inference-app.gen.ts';
import { UNIT_POD } from '#crds/names.ts';
import { UNIT_OPS_PORT, UNIT_TOKEN_FILE } from '#base/wire/unit-env.ts';
import { LOCKED_DOWN, underTemplate } from '#kube/pod-template.ts';

/** Stands for whatever image the operator will put there. */
const SOME_IMAGE = 'penstock.dev/unit';

/**
 * The Job of a unit as far as a pod template can collide with it: the names of its containers, volumes and ports, merged by the
 * operator's own function. What the template does not touch is left out.
 */
export function skeletonJob(app: InferenceApp, namespace: string): object {
  const { worker } = app.spec;
  const sidecar = worker.archetype === 'Sidecar';
  const pod = {
    metadata: {},
    spec: {
      restartPolicy: 'Never',
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } },
      ...(sidecar ? { initContainers: [server()] } : {}),
      containers: [unit()],
      volumes: [
        { name: UNIT_POD.tokenVolume, secret: { secretName: 'unit' } },
        { name: UNIT_POD.tmpVolume, emptyDir: {} },
        ...(sidecar ? [{ name: UNIT_POD.serverTmpVolume, emptyDir: {} }] : []),
      ],
    },
  };
  return {
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: { generateName: 'penstock-dry-run-', namespace },
    spec: {
      parallelism: 1,
      completions: 1,
      backoffLimit: 0,
      podReplacementPolicy: 'Failed',
      template: underTemplate(pod, worker.podTemplate, { adapter: sidecar }),
    },
  };
}

function unit(): object {
  return {
    name: UNIT_POD.worker,
    image: SOME_IMAGE,
    ports: [{ name: UNIT_POD.opsPortName, containerPort: UNIT_OPS_PORT }],
    securityContext: { ...LOCKED_DOWN, readOnlyRootFilesystem: true },
    volumeMounts: [
      { name: UNIT_POD.tokenVolume, mountPath: dirname(UNIT_TOKEN_FILE), readOnly: true },
      { name: UNIT_POD.tmpVolume, mountPath: '/tmp' },
    ],
  };
}

function server(): object {
  return {
    name: UNIT_POD.server,
    image: SOME_IMAGE,
    restartPolicy: 'Always',
    securityContext: LOCKED_DOWN,
    volumeMounts: [{ name: UNIT_POD.serverTmpVolume, mountPath: '/tmp' }],
  };
}
