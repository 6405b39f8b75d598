// SPDX-License-Identifier: Apache-2.0
/** What every unit of this cluster has in common. */
export interface JobSettings {
  /** Origin of the gateway's internal port as units reach it. */
  readonly brokerUrl: string;
  /** Image of the adapter beside a model server. */
  readonly workerImage: string;
  readonly imagePullPolicy: 'Always' | 'IfNotPresent' | 'Never';
}

/** A unit that is asked to stop gets its requests' time plus this to finish and say so. */
const GRACE_EXTRA_SECONDS = 30;
/** Longest grace: a node drain that waits longer than this for one pod is given up by the usual tools. */
const GRACE_MAX_SECONDS = 3600;

/** Key of the unit token in the unit's Secret: the file's name in the pod. */
export const TOKEN_KEY = 'token';

export function graceSeconds(timeoutSeconds: number): number {
  return Math.min(GRACE_MAX_SECONDS, timeoutSeconds + GRACE_EXTRA_SECONDS);
}
