// SPDX-License-Identifier: Apache-2.0
import type { InferenceApp, InferenceAppEnv, InferenceAppEnvFrom, InferenceAppPlacement } from './inference-app.gen.ts';
import type {
  InferenceAppRequest,
  InferenceAppScaling,
  InferenceAppSlice,
  InferenceAppSpec,
  InferenceAppValueFrom,
  InferenceAppWorker,
} from './inference-app.gen.ts';
import { showsDevices } from './visible-devices.ts';
import { RESERVED_APP_NAMES, RESERVED_ENV_PREFIX } from './names.ts';
import { REQUEST_SCHEMA_MAX_BODY_BYTES } from './request-schema.ts';
import { twin } from './rules.ts';
import type { Twin } from './rules.ts';
import type { INFERENCE_APP_RULES } from './shapes.gen.ts';

const worker = twin<InferenceAppWorker>;
const spec = twin<InferenceAppSpec>;
const slice = twin<InferenceAppSlice>;
/** Ops port of a unit in a pod; the model server shares the pod's address. */
const UNIT_OPS_PORT = 9464;
const RESERVED: readonly string[] = RESERVED_APP_NAMES;

/** One twin per CEL rule of the manifest, keyed by its text: a rule without a twin does not compile. */
export const INFERENCE_APP_TWINS: Readonly<Record<(typeof INFERENCE_APP_RULES)[number]['rule'], Twin>> = {
  "!(self.metadata.name in ['usage', 'openapi', 'tenants'])": twin<InferenceApp>(
    (self) => !RESERVED.includes(self.metadata.name),
  ),
  "self.worker.archetype == 'Sidecar' || !has(self.placements) || self.placements.all(p, !has(p.overrides) || !has(p.overrides.args))":
    spec(
      (self) =>
        self.worker.archetype === 'Sidecar' || (self.placements ?? []).every((p) => p.overrides?.args === undefined),
    ),
  "self.worker.archetype == 'Handler' || !has(self.placements) || self.placements.all(p, !has(p.overrides) || !has(p.overrides.instances) || p.overrides.instances == 1)":
    spec(
      (self) =>
        self.worker.archetype === 'Handler' ||
        (self.placements ?? []).every((p) => (p.overrides?.instances ?? 1) === 1),
    ),
  '!has(self.schema) || self.maxBytes <= 8388608': twin<InferenceAppRequest>(
    (self) => self.schema === undefined || self.maxBytes <= REQUEST_SCHEMA_MAX_BODY_BYTES,
  ),
  "self.archetype != 'Handler' || has(self.handler)": worker(
    (self) => self.archetype !== 'Handler' || self.handler !== undefined,
  ),
  "self.archetype == 'Handler' || !has(self.handler)": worker(
    (self) => self.archetype === 'Handler' || self.handler === undefined,
  ),
  "self.archetype == 'Handler' || !has(self.batchSize)": worker(
    (self) => self.archetype === 'Handler' || self.batchSize === undefined,
  ),
  "self.archetype != 'Sidecar' || has(self.server)": worker(
    (self) => self.archetype !== 'Sidecar' || self.server !== undefined,
  ),
  "self.archetype != 'Sidecar' || has(self.image) || has(self.command)": worker(
    (self) => self.archetype !== 'Sidecar' || self.image !== undefined || self.command !== undefined,
  ),
  "self.archetype == 'Handler' || self.instances == 1": worker(
    (self) => self.archetype === 'Handler' || self.instances === 1,
  ),
  "self.archetype == 'Sidecar' || !has(self.server)": worker(
    (self) => self.archetype === 'Sidecar' || self.server === undefined,
  ),
  "self.archetype == 'Sidecar' || !has(self.command)": worker(
    (self) => self.archetype === 'Sidecar' || self.command === undefined,
  ),
  "self.archetype == 'Sidecar' || !has(self.args)": worker(
    (self) => self.archetype === 'Sidecar' || self.args === undefined,
  ),
  'self == oldSelf': twin<string>((self, oldSelf) => oldSelf === undefined || self === oldSelf),
  "!self.name.startsWith('PENSTOCK_')": twin<InferenceAppEnv>((self) => !self.name.startsWith(RESERVED_ENV_PREFIX)),
  "self.name != 'NVIDIA_VISIBLE_DEVICES' || !has(self.valueFrom) && (!has(self.value) || self.value in ['', 'none', 'void'])":
    twin<InferenceAppEnv>((self) => !showsDevices(self)),
  '!has(self.value) || !has(self.valueFrom)': twin<InferenceAppEnv>(
    (self) => self.value === undefined || self.valueFrom === undefined,
  ),
  '[has(self.secretKeyRef), has(self.configMapKeyRef), has(self.fieldRef)].filter(x, x).size() == 1':
    twin<InferenceAppValueFrom>(
      (self) =>
        [self.secretKeyRef, self.configMapKeyRef, self.fieldRef].filter((ref) => ref !== undefined).length === 1,
    ),
  'has(self.configMapRef) != has(self.secretRef)': twin<InferenceAppEnvFrom>(
    (self) => (self.configMapRef === undefined) !== (self.secretRef === undefined),
  ),
  'self != 9464': twin<number>((self) => self !== UNIT_OPS_PORT),
  "self.mode == 'Shared' || !has(self.slots)": slice((self) => self.mode === 'Shared' || self.slots === undefined),
  "self.mode == 'Shared' || !has(self.memory)": slice((self) => self.mode === 'Shared' || self.memory === undefined),
  '!has(self.slots) || !has(self.memory)': slice((self) => self.slots === undefined || self.memory === undefined),
  "self.mode == 'MIG' || !has(self.profile)": slice((self) => self.mode === 'MIG' || self.profile === undefined),
  "self.mode != 'MIG' || has(self.profile)": slice((self) => self.mode !== 'MIG' || self.profile !== undefined),
  'self.minUnits <= self.maxUnits': twin<InferenceAppScaling>((self) => self.minUnits <= self.maxUnits),
  'self.all(p, self.exists_one(q, q.name == p.name))': twin<InferenceAppPlacement[]>(
    (self) => new Set(self.map((placement) => placement.name)).size === self.length,
  ),
};
