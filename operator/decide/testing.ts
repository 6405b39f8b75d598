// SPDX-License-Identifier: Apache-2.0
// Builders for tests of decisions; every value can be overridden, the rest is the CRD's default.
import type { InferenceApp, InferenceAppScaling } from '#crds/inference-app.gen.ts';
import { REASONS } from '#crds/names.ts';
import { seededRandom } from '#base/random.ts';
import type { AppDemandWire } from '#base/wire/demand.ts';
import type { UnitObservation } from '../units/unit-driver.ts';
import { EMPTY_MEMORY } from './types.ts';
import type { AppMemory, DecideInput } from './types.ts';

export const NOW = Date.parse('2026-11-21T12:00:00Z');

/** A unit that is up. */
export const started = { scheduledAt: NOW - 10_000, startedAt: NOW - 9_000, phase: 'Running', ready: 1 } as const;

export interface InputPatch {
  readonly desiredState?: InferenceApp['spec']['desiredState'];
  readonly scaling?: Partial<InferenceAppScaling>;
  /** Makes it a Sidecar app with this readyTimeoutSeconds. */
  readonly sidecar?: number;
  readonly demand?: Partial<AppDemandWire>;
  readonly units?: readonly UnitObservation[];
  /** Units that the gateway knows. */
  readonly seen?: readonly string[];
  /** Those of them that the queue has sent away. */
  readonly sentAway?: readonly string[];
  readonly lastSeenAt?: number;
  /** Makes the demand unknown. */
  readonly gatewayProblem?: string;
  readonly noPlacement?: string;
  readonly specProblem?: string;
  readonly memory?: Partial<AppMemory>;
}

export function anApp(patch: Pick<InputPatch, 'desiredState' | 'scaling' | 'sidecar'> = {}): InferenceApp {
  const server = {
    port: 8000,
    path: '/',
    method: 'POST' as const,
    healthPath: '/healthz',
    readyTimeoutSeconds: patch.sidecar ?? 0,
  };
  return {
    apiVersion: 'penstock.dev/v1alpha1',
    kind: 'InferenceApp',
    metadata: { name: 'ocr', namespace: 'team', uid: 'uid-1', generation: 1 },
    spec: {
      desiredState: patch.desiredState ?? 'Ready',
      worker:
        patch.sidecar === undefined
          ? { archetype: 'Handler', image: 'example/ocr:1', handler: 'ocr.ts', instances: 1 }
          : { archetype: 'Sidecar', image: 'example/server:1', instances: 1, server },
      request: {
        maxBytes: 8_388_608,
        timeoutSeconds: 600,
        resultRetentionSeconds: 86_400,
        retry: { maxAttempts: 3, maxLosses: 5 },
      },
      scaling: {
        minUnits: 0,
        maxUnits: 1,
        requestsPerUnit: 10,
        concurrency: 1,
        maxScaleUpPerCycle: 3,
        scaleUpCooldownSeconds: 0,
        startupGraceSeconds: 900,
        idleLinger: { policy: 'Fixed', seconds: 30 },
        ...patch.scaling,
      },
    },
  };
}

/** Demand of the app; `queued` waits for the current revision unless said otherwise. */
export function aDemand(patch: Partial<AppDemandWire> = {}): AppDemandWire {
  const queued = patch.queued ?? 0;
  return {
    uid: 'uid-1',
    namespace: 'team',
    name: 'ocr',
    revision: 'rev',
    queued,
    queued_by_revision: queued > 0 ? { rev: queued } : {},
    leased: 0,
    units: [],
    ...patch,
  };
}

/** A unit made a second ago that waits for a node. */
export function aUnit(unit: string, patch: Partial<UnitObservation> = {}): UnitObservation {
  return {
    unit,
    revision: 'rev',
    placement: 'pool',
    phase: 'Starting',
    createdAt: NOW - 1000,
    ready: 0,
    retired: false,
    leaving: false,
    ...patch,
  };
}

export function anInput(patch: InputPatch = {}): DecideInput {
  const units = patch.units ?? [];
  const wire = (patch.seen ?? []).map((unit) => ({
    unit,
    revision: units.find((known) => known.unit === unit)?.revision ?? 'rev',
    leases: 0,
    last_seen_at: patch.lastSeenAt ?? NOW,
    retired: patch.sentAway?.includes(unit) ?? false,
  }));
  const specProblem =
    patch.specProblem === undefined
      ? {}
      : { specProblem: { reason: REASONS.imageRequired, message: patch.specProblem } };
  return {
    app: anApp(patch),
    revision: 'rev',
    demand: patch.gatewayProblem === undefined ? aDemand({ units: wire, ...patch.demand }) : undefined,
    ...(patch.gatewayProblem === undefined ? {} : { gatewayProblem: patch.gatewayProblem }),
    ...specProblem,
    units,
    placement:
      patch.noPlacement === undefined
        ? { kind: 'chosen', name: 'pool', scheduleGraceSeconds: 600, unsupported: [] }
        : { kind: 'none', reason: REASONS.placementNotFound, message: patch.noPlacement, unsupported: [] },
    memory: { ...EMPTY_MEMORY, ...patch.memory },
    now: NOW,
    random: seededRandom(7),
  };
}
