// SPDX-License-Identifier: Apache-2.0
import { fitBytes } from '#kube/fit-bytes.ts';
import type { AdmissionRequest, Refusal, Verdict } from '../admission/types.ts';
import type { WebhookError } from '../errors.ts';
import { MAX_WARNING_BYTES, MAX_WARNINGS_BYTES } from './limits.ts';

const HEAD = '{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":';
const REASONS = { 400: 'BadRequest', 403: 'Forbidden', 422: 'Invalid', 503: 'ServiceUnavailable' } as const;
// oxlint-disable-next-line no-control-regex -- a warning travels in a header, where the API server drops it for any of these
const CONTROL = /[\u0000-\u001f\u007f]+/g;

/** The answer that lets a request pass as it is. */
export function allowedAnswer(uid: string, warnings: readonly string[] = []): Buffer {
  return Buffer.from(`${HEAD}${JSON.stringify(uid)},"allowed":true${warningsPart(warnings)}}}`);
}

/** A handler's verdict as AdmissionReview v1. */
export function verdictAnswer(request: AdmissionRequest, { refusal, warnings = [], patch = [] }: Verdict): Buffer {
  if (refusal !== undefined) return refusedAnswer(request.uid, statusOf(request, refusal), warnings);
  if (patch.length === 0) return allowedAnswer(request.uid, warnings);
  const bytes = Buffer.from(JSON.stringify(patch)).toString('base64');
  const uid = JSON.stringify(request.uid);
  return Buffer.from(
    `${HEAD}${uid},"allowed":true,"patchType":"JSONPatch","patch":"${bytes}"${warningsPart(warnings)}}}`,
  );
}

/** An error that happened to a review whose uid is known. */
export function errorAnswer(uid: string, { status, reason, message }: WebhookError): Buffer {
  return refusedAnswer(uid, { code: status, reason, message });
}

/** Body of an answer other than 200: the API server takes its message into the error that it shows. */
export function statusBody({ status, reason, message }: WebhookError): Buffer {
  return Buffer.from(
    JSON.stringify({
      apiVersion: 'v1',
      kind: 'Status',
      metadata: {},
      status: 'Failure',
      reason,
      message,
      code: status,
    }),
  );
}

/** The part of metav1.Status that a refusal carries. */
interface RefusalStatus {
  readonly code: number;
  readonly reason: string;
  readonly message: string;
  readonly details?: object;
}

function statusOf({ kind, name }: AdmissionRequest, { code, message, causes = [] }: Refusal): RefusalStatus {
  const status = { code, reason: REASONS[code], message };
  // kubectl shows causes instead of the message where there are details, so there are none without causes.
  if (causes.length === 0) return status;
  return { ...status, details: { name, group: kind.group, kind: kind.kind, causes } };
}

function refusedAnswer(uid: string, status: RefusalStatus, warnings: readonly string[] = []): Buffer {
  return Buffer.from(
    `${HEAD}${JSON.stringify(uid)},"allowed":false,"status":${JSON.stringify(status)}${warningsPart(warnings)}}}`,
  );
}

/** Cut where the API server would cut, with a sign that something is missing; what goes beyond the sum is left out, as it would be there. */
function warningsPart(warnings: readonly string[]): string {
  if (warnings.length === 0) return '';
  const kept: string[] = [];
  let room = MAX_WARNINGS_BYTES;
  for (const warning of warnings) {
    const text = fitBytes(warning.replaceAll(CONTROL, ' '), MAX_WARNING_BYTES);
    room -= Buffer.byteLength(text);
    if (room < 0) break;
    kept.push(text);
  }
  return `,"warnings":${JSON.stringify(kept)}`;
}
