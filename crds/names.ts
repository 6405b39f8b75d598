// SPDX-License-Identifier: Apache-2.0
// Every name that is part of the public API beside the schemas: what users, other controllers and dashboards may rely on.

export const GROUP = 'penstock.dev';
export const VERSION = 'v1alpha1';
export const API_VERSION = `${GROUP}/${VERSION}`;

/** Field manager of every server-side apply by the operator. */
export const FIELD_MANAGER = 'penstock-operator';

/** Kind, plural (REST path) and scope of each resource of the group. */
export const RESOURCES = {
  inferenceApp: { kind: 'InferenceApp', plural: 'inferenceapps', namespaced: true },
  placement: { kind: 'Placement', plural: 'placements', namespaced: false },
} as const;

/** Longest name of an InferenceApp or Placement: leaves room for unit suffixes within a 63-character label value. */
export const MAX_NAME_LENGTH = 40;

/** Path segments of the client API that no app may be called (`/v1/{app}/…`). */
export const RESERVED_APP_NAMES = ['usage', 'openapi', 'tenants'] as const;

/** Environment variables with this prefix belong to Penstock; an app may not set them. */
export const RESERVED_ENV_PREFIX = 'PENSTOCK_';

/**
 * Tells the NVIDIA runtime which GPUs of the node a container sees, whatever it asked for: an app may set it only so that it sees none.
 */
export const VISIBLE_DEVICES = {
  variable: 'NVIDIA_VISIBLE_DEVICES',
  harmless: ['', 'none', 'void'],
} as const;

/** Labels on unit Jobs, their pods and their Secrets. Values are label-safe; the uid, not the name, is the identity. */
export const LABELS = {
  managedBy: 'app.kubernetes.io/managed-by',
  app: `${GROUP}/app`,
  appUid: `${GROUP}/app-uid`,
  unit: `${GROUP}/unit`,
  revision: `${GROUP}/revision`,
  placement: `${GROUP}/placement`,
  /** Spot or OnDemand, from the placement. */
  pricing: `${GROUP}/pricing`,
} as const;

/** Value of {@link LABELS.managedBy}. */
export const MANAGED_BY = 'penstock-operator';

export const ANNOTATIONS = {
  /** RFC 3339 time at which the gateway retired the unit: it can never lease again, so its Job may go. */
  retired: `${GROUP}/retired`,
  /** Why the unit was retired (one of {@link REASONS}). */
  retireReason: `${GROUP}/retire-reason`,
} as const;

export const FINALIZERS = {
  /** On an InferenceApp: units have left, their Jobs and Secrets are reaped, the gateway has purged queue and objects. */
  units: `${GROUP}/units`,
} as const;

/** Well-known names of Kubernetes objects that two processes share. */
export const OBJECTS = {
  systemNamespace: 'penstock-system',
  /** ConfigMap with the operator's JWKS, watched by the gateway. */
  issuerConfigMap: 'penstock-issuer',
  /** ConfigMap with `tenants.yaml`. */
  tenantsConfigMap: 'penstock-tenants',
  /** Lease of the operator's leader election. */
  operatorLease: 'penstock-operator',
  /** ConfigMap with `images.yaml`: which images the apps of a namespace may use. */
  admissionConfigMap: 'penstock-admission',
  /** ConfigMap with `policy.yaml`: who gets slices without asking, and what is known of shared resources. */
  slicingConfigMap: 'penstock-slicing',
  /** Secret with the webhook's serving certificate and its CA. */
  webhookSecret: 'penstock-webhook-tls',
  /** Lease of the webhook's replica that reports what slipped through. */
  webhookLease: 'penstock-webhook',
  /** The only webhook configurations that the webhook writes to: their caBundles. */
  podsWebhook: 'penstock-pods',
  objectsWebhook: 'penstock-objects',
} as const;

/** Extended resource asked for by `spec.resources.gpu.count`, and the node label that `spec.resources.gpu.type` selects. */
export const GPU = {
  resource: 'nvidia.com/gpu',
  typeLabel: 'nvidia.com/gpu.product',
  /** Followed by a MIG profile: the resource of its instances. */
  migPrefix: 'nvidia.com/mig-',
} as const;

/** Annotations by which a pod asks for a slice of a GPU; the operator sets them on units by `spec.resources.gpu.slice`. */
export const SLICE_ANNOTATIONS = {
  /** `true` opts in; `false` opts out, whatever the cluster's policy says. */
  slice: `${GROUP}/slice`,
  /** Slots of each GPU, 1 … 64. */
  ratio: `${GROUP}/slice-ratio`,
  /** GPU memory of each GPU as a quantity, instead of a ratio. */
  vram: `${GROUP}/vram`,
  /** training, inference, batch or dev: a preset of the ratio. */
  workloadType: `${GROUP}/workload-type`,
  /** `true`: what would be done is annotated and counted, nothing else. */
  dryRun: `${GROUP}/slice-dry-run`,
  /** Written: what was given and how the quota came about, for people. */
  status: `${GROUP}/slice-status`,
  /** Written: what was asked for before, so that a second pass finds its work done. */
  record: `${GROUP}/sliced`,
} as const;

/** The name of a container goes before these: where it does not fit behind a key of {@link SLICE_ANNOTATIONS}, and what is written for each. */
export const CONTAINER_ANNOTATIONS = {
  ratio: `.slice.${GROUP}/ratio`,
  vram: `.slice.${GROUP}/vram`,
  /** Written: bytes on each GPU that the container sees. Mounted into it. */
  quota: `.vram.${GROUP}/quota`,
} as const;

/** Annotations of castops that mean the same. */
export const CASTOPS_ANNOTATIONS = {
  slice: 'castops.io/optimize',
  ratio: 'castops.io/slice-ratio',
  workloadType: 'castops.io/workload-type',
} as const;

/** Names in the pod of a unit that belong to Penstock. */
export const UNIT_POD = {
  /** Runs the worker runtime: the handler, or the adapter beside a model server. Its exit ends the unit. */
  worker: 'worker',
  /** Native sidecar with the model server of a Sidecar app. */
  server: 'server',
  /** Volume with the unit's token. */
  tokenVolume: 'token',
  tmpVolume: 'tmp',
  serverTmpVolume: 'server-tmp',
  opsPortName: 'ops',
} as const;

/** Condition types in `status.conditions`. */
export const CONDITIONS = {
  /** Summary: the app can serve requests (units may be zero), or the placement can take units. */
  ready: 'Ready',
  /** The app names a placement that exists and allows its namespace. */
  placementResolved: 'PlacementResolved',
  /** The spec holds fields that this version does not act on; their paths are in `status.unsupportedFields`. */
  unsupported: 'Unsupported',
  /** Units come up and stay up: no image, scheduling or readiness trouble. */
  unitsHealthy: 'UnitsHealthy',
  /** The gateway answers the operator's demand and retire calls. */
  gatewayReachable: 'GatewayReachable',
} as const;

export type ConditionType = (typeof CONDITIONS)[keyof typeof CONDITIONS];

/** Reasons of conditions, Events and retirements. */
export const REASONS = {
  // InferenceApp: Ready
  serving: 'Serving',
  scaling: 'Scaling',
  idle: 'Idle',
  paused: 'Paused',
  draining: 'Draining',
  held: 'Held',
  deleting: 'Deleting',
  invalidSpec: 'InvalidSpec',
  imageRequired: 'ImageRequired',
  // InferenceApp: PlacementResolved
  resolved: 'Resolved',
  noPlacement: 'NoPlacement',
  placementNotFound: 'PlacementNotFound',
  namespaceNotAllowed: 'NamespaceNotAllowed',
  placementNotOpen: 'PlacementNotOpen',
  // Unsupported
  allSupported: 'AllSupported',
  fieldsIgnored: 'FieldsIgnored',
  // UnitsHealthy
  unitsHealthy: 'UnitsHealthy',
  noUnits: 'NoUnits',
  unitFailed: 'UnitFailed',
  unitNotReady: 'UnitNotReady',
  unitUnschedulable: 'UnitUnschedulable',
  imagePullFailed: 'ImagePullFailed',
  createFailed: 'CreateFailed',
  // GatewayReachable
  gatewayReachable: 'GatewayReachable',
  gatewayUnreachable: 'GatewayUnreachable',
  // Placement
  open: 'Open',
  misconfigured: 'Misconfigured',
  // Events
  unitCreated: 'UnitCreated',
  unitReady: 'UnitReady',
  unitFinished: 'UnitFinished',
  unitRetired: 'UnitRetired',
  unitReaped: 'UnitReaped',
  purged: 'Purged',
  // Not yet observed
  unknown: 'Unknown',
} as const;

export type Reason = (typeof REASONS)[keyof typeof REASONS];
