// SPDX-License-Identifier: Apache-2.0
import type { InferenceApp } from '#crds/inference-app.gen.ts';
import { POD_TEMPLATE } from '#crds/pod-template.ts';
import type { KubeClient } from '#kube/client.ts';
import { KubeError } from '#kube/errors.ts';
import { JOBS, resourcePath } from '#kube/resource.ts';
import type { FieldCause } from '../admission/types.ts';
import type { Problem } from './problems.ts';
import { skeletonJob } from './skeleton-job.ts';

/** The API server that asks us waits for little longer. */
const DEADLINE_MS = 3_000;
/** Where a Job holds what the app calls podTemplate. */
const TEMPLATE = 'spec.template';
/** Members that strict decoding refuses, in the message only. */
const UNKNOWN = /(?:unknown|duplicate) field "([^"]+)"/g;
/** Values of a type that Go cannot put into the field, in the message only. */
const WRONG_TYPE = /cannot unmarshal (\w+) into Go struct field \w+\.(\S+) of type (\S+)/;
const REASONS: Readonly<Record<string, FieldCause['reason']>> = {
  FieldValueForbidden: 'FieldValueForbidden',
  FieldValueNotFound: 'FieldValueNotFound',
  FieldValueNotSupported: 'FieldValueNotSupported',
  FieldValueRequired: 'FieldValueRequired',
};

/** What the API server makes of the Job that units of an app would be. */
export interface DryRun {
  /** What it refuses for its form: the app's to mend. */
  readonly problems: readonly Problem[];
  /** Why it could not be tried, or what stands in the way for now (a quota, another webhook): nothing that the app need be refused for. */
  readonly warnings: readonly string[];
}

export interface JobDryRun {
  /** Never rejects. */
  tryJob(app: InferenceApp, namespace: string, signal: AbortSignal): Promise<DryRun>;
}

export function createJobDryRun(client: Pick<KubeClient, 'call'>): JobDryRun {
  return {
    tryJob: async (app, namespace, signal) => {
      const call = {
        method: 'POST',
        path: resourcePath(JOBS, { namespace }),
        query: { dryRun: 'All', fieldValidation: 'Strict', fieldManager: 'penstock-webhook' },
        body: skeletonJob(app, namespace),
        deadlineMs: DEADLINE_MS,
        signal,
      } as const;
      try {
        await client.call(call);
        return { problems: [], warnings: [] };
      } catch (err) {
        const problems = err instanceof KubeError ? problemsOf(err) : [];
        if (problems.length > 0) return { problems, warnings: [] };
        const why = err instanceof Error ? err.message : String(err);
        return { problems: [], warnings: [`${POD_TEMPLATE}: the Job of a unit could not be tried: ${why}`] };
      }
    },
  };
}

/** Only what the form of the Job is refused for: 422 of its validation, 400 of its decoding. */
function problemsOf({ status, causes, message }: KubeError): Problem[] {
  if (status === 422) {
    return causes.map(({ field, message: text, reason }) => ({
      path: inApp(field),
      message: text,
      reason: REASONS[reason] ?? 'FieldValueInvalid',
    }));
  }
  if (status !== 400) return [];
  const unknown = [...message.matchAll(UNKNOWN)].map((match) => match[1] ?? '');
  if (unknown.length > 0) {
    return unknown.map((field) => ({
      path: inApp(field),
      message: 'is not a field that this cluster knows',
      reason: 'FieldValueNotSupported',
    }));
  }
  const [, given = '', field = '', wanted = ''] = WRONG_TYPE.exec(message) ?? [];
  if (wanted === '') return [{ path: POD_TEMPLATE, message, reason: 'FieldValueInvalid' }];
  return [{ path: inApp(field), message: `must be of type ${wanted}, not ${given}`, reason: 'FieldValueInvalid' }];
}

/** Lists of the Job begin with those of the template, so what is behind `spec.template` is the same in both. */
function inApp(field: string): string {
  if (field === TEMPLATE || field.startsWith(`${TEMPLATE}.`)) return POD_TEMPLATE + field.slice(TEMPLATE.length);
  return POD_TEMPLATE;
}
