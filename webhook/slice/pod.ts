// SPDX-License-Identifier: Apache-2.0
// The part of a Pod that slicing reads, as the API server sends it: after its defaults, before its validation.

export interface EnvVar {
  readonly name: string;
  readonly value?: string;
  readonly valueFrom?: Readonly<Record<string, unknown>>;
}

export interface VolumeMount {
  readonly name: string;
  readonly mountPath: string;
  readonly readOnly?: boolean;
  readonly subPath?: string;
  readonly subPathExpr?: string;
}

export interface Resources {
  readonly limits?: Readonly<Record<string, unknown>>;
  readonly requests?: Readonly<Record<string, unknown>>;
  /** Of dynamic resource allocation (KEP-4381). */
  readonly claims?: readonly unknown[];
}

export interface Container {
  readonly name: string;
  readonly image?: string;
  readonly env?: readonly EnvVar[];
  readonly envFrom?: readonly unknown[];
  readonly resources?: Resources;
  readonly volumeMounts?: readonly VolumeMount[];
  /** `Always` makes an init container a native sidecar (KEP-753). */
  readonly restartPolicy?: string;
}

export interface EphemeralContainer extends Container {
  readonly targetContainerName?: string;
}

export interface Volume {
  readonly name: string;
  readonly emptyDir?: Readonly<Record<string, unknown>>;
  readonly image?: Readonly<Record<string, unknown>>;
  readonly downwardAPI?: Readonly<Record<string, unknown>>;
}

export interface NodeSelectorRequirement {
  readonly key: string;
  readonly operator: string;
  readonly values?: readonly string[];
}

export interface NodeSelectorTerm {
  readonly matchExpressions?: readonly NodeSelectorRequirement[];
  readonly matchFields?: readonly NodeSelectorRequirement[];
}

interface NodeSelector {
  readonly nodeSelectorTerms?: readonly NodeSelectorTerm[];
}

interface NodeAffinity {
  readonly requiredDuringSchedulingIgnoredDuringExecution?: NodeSelector;
}

export interface PodToleration {
  readonly key?: string;
  readonly operator?: string;
  readonly value?: string;
  readonly effect?: string;
}

export interface PodSpec {
  readonly containers: readonly Container[];
  readonly initContainers?: readonly Container[];
  readonly ephemeralContainers?: readonly EphemeralContainer[];
  readonly volumes?: readonly Volume[];
  readonly nodeName?: string;
  readonly nodeSelector?: Readonly<Record<string, string>>;
  readonly affinity?: { readonly nodeAffinity?: NodeAffinity };
  readonly tolerations?: readonly PodToleration[];
  readonly os?: { readonly name?: string };
  readonly securityContext?: { readonly runAsUser?: number };
  /** Of the pod as a whole (KEP-2837). */
  readonly resources?: Resources;
  /** What its runtime class takes beside its containers. */
  readonly overhead?: Readonly<Record<string, unknown>>;
}

export interface PodOwner {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
  readonly controller?: boolean;
}

export interface Pod {
  readonly metadata: {
    readonly name?: string;
    readonly generateName?: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly ownerReferences?: readonly PodOwner[];
  };
  readonly spec: PodSpec;
}

/** The scheduler does not see a pod with a nodeName. */
export function isBound({ nodeName }: PodSpec): boolean {
  return nodeName !== undefined && nodeName !== '';
}

/** Where a container stands: `init` ones run one after another, a `sidecar` goes on beside what follows it. */
export type Phase = 'init' | 'sidecar' | 'app';

/** A container and its place, for pointers. */
export interface Place {
  readonly container: Container;
  readonly list: 'initContainers' | 'containers';
  readonly index: number;
  readonly phase: Phase;
}

/** Every container that can ask for resources, in the order in which they start. */
export function places(spec: PodSpec): Place[] {
  const found: Place[] = [];
  spec.initContainers?.forEach((container, index) => {
    found.push({
      container,
      list: 'initContainers',
      index,
      phase: container.restartPolicy === 'Always' ? 'sidecar' : 'init',
    });
  });
  spec.containers.forEach((container, index) => found.push({ container, list: 'containers', index, phase: 'app' }));
  return found;
}

/**
 * What the scheduler counts for a pod (KEP-753): the containers and sidecars together, or the init container at which more is
 * held at once, with the sidecars that run by then. `units` is parallel to `phases`, which are in the order of starting.
 */
export function effectiveSum(phases: readonly Phase[], units: readonly number[]): number {
  let sidecars = 0;
  let starting = 0;
  let running = 0;
  phases.forEach((phase, index) => {
    const count = units[index] ?? 0;
    if (phase === 'sidecar') sidecars += count;
    if (phase === 'app') running += count;
    starting = Math.max(starting, sidecars + (phase === 'init' ? count : 0));
  });
  return Math.max(starting, running + sidecars);
}
