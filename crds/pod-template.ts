// SPDX-License-Identifier: Apache-2.0
// What spec.worker.podTemplate may not say: Penstock's own fields, what a Placement decides, and what would let a unit out of its
// sandbox (PodSecurity `baseline`, and those of `restricted` that units keep). Lists of what is known, so that a field of a newer
// Kubernetes is refused until somebody has thought about it.
import { echo, isRecord, member } from './field-error.ts';
import type { FieldError } from './field-error.ts';
import type { InferenceAppWorker } from './inference-app.gen.ts';
import { metadataErrors } from './metadata.ts';
import { GPU, GROUP, LABELS } from './names.ts';
import { containerListErrors } from './pod-template-containers.ts';
import { gpuErrors, unknownMembers } from './pod-template-parts.ts';
import { podSecurityErrors } from './pod-template-security.ts';
import { volumeErrors } from './pod-template-volumes.ts';

/** Where the template is in an InferenceApp. */
export const POD_TEMPLATE = 'spec.worker.podTemplate';
/** As JSON: beyond any hand-written one, and a small part of what a Job may be. */
const MAX_BYTES = 65_536;
/** Deepest nesting: a pod has about twelve levels. */
const MAX_DEPTH = 32;
/** Most errors that are reported. */
const MAX_REPORTED = 32;

const BY_PLACEMENT = 'may not be specified: where units run is decided by the Placement';
/** Members of PodSpec that are somebody else's to set, with what to do instead. */
const OWNED: Readonly<Record<string, string>> = {
  activeDeadlineSeconds: 'may not be specified: a unit is never timed out; see spec.request.timeoutSeconds',
  terminationGracePeriodSeconds: 'may not be specified: it follows from spec.request.timeoutSeconds',
  readinessGates: 'may not be specified: when a unit is ready is for Penstock to say',
  ephemeralContainers: 'may not be specified: they are added to a pod that runs',
  serviceAccount: 'may not be specified: its name is serviceAccountName',
  priority: 'may not be specified: name a priorityClassName',
  overhead: 'may not be specified: it comes from the RuntimeClass of the Placement',
  nodeName: BY_PLACEMENT,
  tolerations: BY_PLACEMENT,
  runtimeClassName: BY_PLACEMENT,
};
const KNOWN = [
  'affinity',
  'automountServiceAccountToken',
  'containers',
  'dnsConfig',
  'dnsPolicy',
  'enableServiceLinks',
  'hostAliases',
  'hostIPC',
  'hostNetwork',
  'hostPID',
  'hostUsers',
  'hostname',
  'hostnameOverride',
  'imagePullSecrets',
  'initContainers',
  'nodeSelector',
  'os',
  'preemptionPolicy',
  'priorityClassName',
  'resourceClaims',
  'resources',
  'restartPolicy',
  'schedulerName',
  'schedulingGates',
  'securityContext',
  'serviceAccountName',
  'setHostnameAsFQDN',
  'shareProcessNamespace',
  'subdomain',
  'topologySpreadConstraints',
  'volumes',
];
/** Members that may be there as long as they say what is so anyway. */
const FIXED: Readonly<Record<string, { readonly value: unknown; readonly why: string }>> = {
  hostNetwork: { value: false, why: 'a unit has no part of the node' },
  hostPID: { value: false, why: 'a unit has no part of the node' },
  hostIPC: { value: false, why: 'a unit has no part of the node' },
  shareProcessNamespace: { value: false, why: 'the unit token belongs to one container only' },
  restartPolicy: { value: 'Never', why: 'a unit is never restarted' },
};

/** Why a pod template cannot be used, as far as that shows without a cluster. Paths are those of the InferenceApp. */
export function podTemplateErrors(
  template: Readonly<Record<string, unknown>>,
  archetype: InferenceAppWorker['archetype'],
): FieldError[] {
  const fault = sizeFault(template);
  if (fault !== undefined) return [{ path: POD_TEMPLATE, message: fault }];
  const { metadata, spec } = template;
  const errors = [
    ...unknownMembers(template, ['metadata', 'spec'], POD_TEMPLATE),
    ...templateMetadataErrors(metadata, member(POD_TEMPLATE, 'metadata')),
    ...podErrors(spec, member(POD_TEMPLATE, 'spec'), archetype),
  ];
  if (errors.length <= MAX_REPORTED) return errors;
  // What is left out stands for the whole template: a change of any part of it answers for this, so that none hides behind old faults.
  const more = `has ${errors.length - MAX_REPORTED + 1} more faults: mend these first`;
  return [...errors.slice(0, MAX_REPORTED - 1), { path: POD_TEMPLATE, message: more }];
}

function sizeFault(template: Readonly<Record<string, unknown>>): string | undefined {
  // Before it is written as JSON, which recurses too.
  if (deeperThan(template, MAX_DEPTH)) return `must not be nested deeper than ${MAX_DEPTH} levels`;
  const bytes = Buffer.byteLength(JSON.stringify(template));
  return bytes > MAX_BYTES ? `must have at most ${MAX_BYTES} bytes as JSON, not ${bytes}` : undefined;
}

function deeperThan(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return levels === 0 || Object.values(value).some((sub) => deeperThan(sub, levels - 1));
}

function templateMetadataErrors(metadata: unknown, path: string): FieldError[] {
  if (metadata === undefined || metadata === null) return [];
  if (!isRecord(metadata)) return [{ path, message: 'must be an object' }];
  const ours = ['labels', 'annotations'].flatMap((map) => {
    const entries = metadata[map];
    const keys = isRecord(entries) ? Object.keys(entries) : [];
    return keys.filter(isOurs).map((key) => ({
      path: member(path, map),
      message: `${echo(key)} may not be specified: it is Penstock's own`,
      ...(map === 'annotations' ? { hint: 'slices of GPUs are asked for by spec.resources.gpu.slice' } : {}),
    }));
  });
  return [
    ...unknownMembers(metadata, ['labels', 'annotations'], path),
    ...metadataErrors(metadata).map((error) => ({ ...error, path: member(POD_TEMPLATE, error.path) })),
    ...ours,
    ...unconfined(metadata['annotations'], member(path, 'annotations')),
  ];
}

/** `penstock.dev/…`, `<container>.vram.penstock.dev/…`, and the label that says whose a pod is. */
function isOurs(key: string): boolean {
  const [domain = ''] = key.split('/');
  return domain === GROUP || domain.endsWith(`.${GROUP}`) || key === LABELS.managedBy;
}

const APPARMOR = 'container.apparmor.security.beta.kubernetes.io/';

/** The annotation that was there before the field. */
function unconfined(annotations: unknown, path: string): FieldError[] {
  if (!isRecord(annotations)) return [];
  return Object.entries(annotations)
    .filter(isUnconfined)
    .map(([key]) => ({ path, message: `${echo(key)} must not be unconfined` }));
}

/** Whether the entry of a pod's annotations takes a container out of its AppArmor profile. */
export function isUnconfined([key, value]: readonly [string, unknown]): boolean {
  return key.startsWith(APPARMOR) && value === 'unconfined';
}

function podErrors(spec: unknown, path: string, archetype: InferenceAppWorker['archetype']): FieldError[] {
  if (spec === undefined || spec === null) return [];
  if (!isRecord(spec)) return [{ path, message: 'must be an object' }];
  const given = Object.fromEntries(Object.entries(spec).filter(([, value]) => value !== null));
  const owned = Object.keys(given).filter((key) => Object.hasOwn(OWNED, key));
  return [
    ...unknownMembers(given, [...KNOWN, ...Object.keys(OWNED)], path),
    ...owned.map((key) => ({ path: member(path, key), message: OWNED[key] ?? '' })),
    ...fixedErrors(given, path),
    ...placeErrors(given, path),
    ...podSecurityErrors(given['securityContext'], member(path, 'securityContext')),
    ...volumeErrors(given['volumes'], member(path, 'volumes')),
    ...gpuErrors(given['resources'], member(path, 'resources')),
    ...containerListErrors(given['initContainers'], member(path, 'initContainers'), {
      list: 'initContainers',
      archetype,
    }),
    ...containerListErrors(given['containers'], member(path, 'containers'), { list: 'containers', archetype }),
  ];
}

function fixedErrors(spec: Readonly<Record<string, unknown>>, path: string): FieldError[] {
  return Object.entries(FIXED)
    .filter(([key, { value }]) => spec[key] !== undefined && spec[key] !== value)
    .map(([key, { value, why }]) => ({
      path: member(path, key),
      message: `must be ${String(value)}: ${why}`,
    }));
}

/** Where the pod goes is the Placement's; what narrows that further is the app's. */
function placeErrors(spec: Readonly<Record<string, unknown>>, path: string): FieldError[] {
  const { affinity, nodeSelector, os } = spec;
  const errors: FieldError[] = [];
  if (isRecord(affinity) && (affinity['nodeAffinity'] ?? undefined) !== undefined) {
    errors.push({
      path: member(path, 'affinity.nodeAffinity'),
      message: BY_PLACEMENT,
      hint: 'use nodeSelector to narrow it',
    });
  }
  if (isRecord(nodeSelector) && Object.hasOwn(nodeSelector, GPU.typeLabel)) {
    const message = `${GPU.typeLabel} may not be specified: say it in spec.resources.gpu.type`;
    errors.push({ path: member(path, 'nodeSelector'), message });
  }
  if (isRecord(os) && os['name'] !== 'linux') errors.push({ path: member(path, 'os.name'), message: 'must be linux' });
  return errors;
}
