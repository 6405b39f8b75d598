// SPDX-License-Identifier: Apache-2.0
// What the decision on a pod depends on beside the pod, and what is told beside the verdict. Plain data: snapshots of the moment.
import type { Inventory } from './inventory.ts';

export type WorkloadType = 'training' | 'inference' | 'batch' | 'dev';

/** The rule of the policy that is the first to match the pod. At most one of ratio, vram and workloadType. */
export interface PolicyDecision {
  readonly rule: string;
  /** `unknown`: which rule it is goes by labels of the namespace, and they are not known. */
  readonly action: 'slice' | 'ignore' | 'unknown';
  /** 1..64. */
  readonly ratio?: number;
  /** Bytes. */
  readonly vram?: number;
  readonly workloadType?: WorkloadType;
  /** Only annotates and counts. */
  readonly dryRun?: boolean;
}

/** How the preloaded objects reach the containers. `image`: reference of the penstock-vram image. */
export interface Delivery {
  readonly kind: 'image' | 'init';
  readonly image: string;
  readonly pullPolicy?: 'Always' | 'IfNotPresent' | 'Never';
}

export interface Toleration {
  readonly key?: string;
  readonly operator?: string;
  readonly value?: string;
  readonly effect?: string;
  readonly tolerationSeconds?: number;
}

export interface NodeRequirement {
  readonly key: string;
  readonly operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist' | 'Gt' | 'Lt';
  readonly values?: readonly string[];
}

/** What the administrator says about all slices. */
export interface SliceSettings {
  /** Whole GPUs are asked for by this name, e.g. `nvidia.com/gpu`. */
  readonly gpuResource: string;
  /** Names of shared resources in order of preference; what nodes offer beyond them comes after, by name. */
  readonly preference: readonly string[];
  /** Added to sliced pods that lack them. */
  readonly tolerations: readonly Toleration[];
  /** Added to each term of the required node affinity of sliced pods. */
  readonly nodeRequirements: readonly NodeRequirement[];
}

export interface SliceContext {
  readonly inventory: Inventory;
  readonly policy?: PolicyDecision | undefined;
  /** There is a policy and none of its documents could be read yet: nothing is concluded, neither from it nor from its absence. */
  readonly policyUnread?: boolean;
  /** Absent: not known yet; nothing is sliced. */
  readonly delivery?: Delivery | undefined;
  readonly settings: SliceSettings;
}

/** Why a pod was left as it is: `SliceReport.reason`. A closed set, as it is the label of a metric. */
export type NoopReason =
  | 'no-gpu'
  | 'not-asked'
  | 'opted-out'
  | 'policy-ignored'
  | 'already-sliced'
  | 'not-synced'
  | 'no-policy'
  | 'no-namespace'
  | 'no-delivery'
  | 'windows'
  | 'mirror'
  | 'malformed'
  | 'too-large'
  | 'no-node'
  | 'no-target'
  | 'internal-error';

/** What a container was given. */
export interface SlicedContainer {
  readonly container: string;
  readonly resource: string;
  readonly units: number;
  /** Bytes on each GPU that it sees. */
  readonly quota: number;
}

/** What became of one review, for metrics and the log line. */
export interface SliceReport {
  readonly namespace: string;
  /** Name of the pod, or its generateName with `*`. */
  readonly pod: string;
  readonly outcome: 'mutated' | 'dry-run' | 'noop' | 'refused' | 'ephemeral';
  /** Only of a noop. */
  readonly reason?: NoopReason;
  /** `none`: neither annotation nor policy names one. */
  readonly workloadType: WorkloadType | 'none';
  /** The policy's rule that enrolled a pod which did not ask itself, or that had it ignored. */
  readonly rule?: string;
  /** Whole GPUs that other pods may have thereby, e.g. 0.75; 0 unless mutated (in a dry run: what it would be). */
  readonly gpusSaved: number;
  /** Of a mutation; in a dry run: what it would be. */
  readonly slices?: readonly SlicedContainer[];
  /** What an earlier slice had left in the pod was taken out, whatever came then. */
  readonly restored?: true;
  /** It had slices when it came, and they were put right: after another webhook, or as it is a copy. It has been counted before. */
  readonly again?: true;
  /** Ephemeral containers that came to it, by whether they share the limit of another. */
  readonly ephemeral?: { readonly limited: number; readonly unlimited: number };
  /** The admission request was a dry run itself: count it apart, nothing will come of it. */
  readonly requestDryRun: boolean;
  /** What was thrown; only of `internal-error`. */
  readonly error?: unknown;
}

/** For `emit`: the pod does not exist yet, so its controller is named where it has one. */
export interface SliceEvent {
  readonly regarding: {
    readonly apiVersion: string;
    readonly kind: string;
    readonly namespace: string;
    readonly name: string;
    readonly uid?: string;
  };
  readonly type: 'Normal' | 'Warning';
  readonly reason: string;
  readonly message: string;
}

/** Getters are called once per review and must be cheap: they hand out what watches have prepared. */
export interface SliceDeps {
  readonly inventory: () => Inventory;
  /** Undefined: no rule matches, or there is no policy that could be read. */
  readonly policy: (pod: {
    readonly namespace: string;
    readonly labels: Readonly<Record<string, string>>;
  }) => PolicyDecision | undefined;
  /** See SliceContext. */
  readonly policyUnread: () => boolean;
  /** How for pods of this namespace. Undefined: not known yet. */
  readonly delivery: (namespace: string) => Delivery | undefined;
  readonly settings: () => SliceSettings;
  /** Once per review, dry runs included. */
  readonly report: (report: SliceReport) => void;
  /** Never called for a dry run of the request. */
  readonly emit: (event: SliceEvent) => void;
}
