// SPDX-License-Identifier: Apache-2.0
import { isObject } from '#base/json.ts';

/** Reasons that are ours, for calls that got no answer; all others are the API server's own (NotFound, Conflict, …). */
export const NO_ANSWER = {
  /** No connection, or it broke before the answer was complete. The call may have had its effect. */
  connection: 'ConnectionFailed',
  /** The deadline passed first. The call may have had its effect. */
  deadline: 'DeadlineExceeded',
  /** The answer was no JSON of the expected shape. */
  malformed: 'MalformedAnswer',
} as const;

/** One field that the API server objects to, as in `details.causes` of a Status. */
export interface KubeCause {
  /** `spec.template.spec.volumes[0].name` */
  readonly field: string;
  readonly message: string;
  /** `FieldValueInvalid` and the like. */
  readonly reason: string;
}

export interface KubeErrorInit {
  /** HTTP status, or 0 when there was no answer. */
  readonly status: number;
  readonly reason: string;
  readonly retryAfterMs?: number | undefined;
  readonly causes?: readonly KubeCause[];
  readonly cause?: unknown;
}

/** The only error that calls to the API server end with (except the caller's own abort reason). */
export class KubeError extends Error {
  readonly status: number;
  readonly reason: string;
  /** How long the server asked to wait. */
  readonly retryAfterMs: number | undefined;
  /** Of a 422, field by field. */
  readonly causes: readonly KubeCause[];

  constructor(message: string, init: KubeErrorInit) {
    super(message, init.cause === undefined ? {} : { cause: init.cause });
    this.name = 'KubeError';
    this.status = init.status;
    this.reason = init.reason;
    this.retryAfterMs = init.retryAfterMs;
    this.causes = init.causes ?? [];
  }
}

/** Retrying cannot help: the controller counts it and does not try the key again until something changes. */
export class TerminalError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'TerminalError';
  }
}

export function isNotFound(err: unknown): err is KubeError {
  return err instanceof KubeError && err.status === 404;
}

/** Somebody else wrote first (stale resourceVersion, other uid), or a server-side apply met another owner. */
export function isConflict(err: unknown): err is KubeError {
  return err instanceof KubeError && err.status === 409 && err.reason !== 'AlreadyExists';
}

export function isAlreadyExists(err: unknown): err is KubeError {
  return err instanceof KubeError && err.status === 409 && err.reason === 'AlreadyExists';
}

/** 410: the resourceVersion or continue token is older than what the server still knows. */
export function isExpired(err: unknown): err is KubeError {
  return err instanceof KubeError && (err.status === 410 || err.reason === 'Expired' || err.reason === 'Gone');
}

/** Longest part of a foreign (non-Status) error body that goes into a message. */
const EXCERPT = 200;

/** KubeError of an answer with an error status: the body is a `Status` object from the API server, or a proxy's text. */
export function errorFromAnswer(what: string, status: number, body: string, retryAfter?: string): KubeError {
  return errorFromStatus(what, parseStatus(body) ?? { message: body.slice(0, EXCERPT) }, status, retryAfter);
}

/** KubeError of a `Status` object, as in an ERROR frame of a watch (where the HTTP status was 200). */
export function errorFromStatus(
  what: string,
  body: Record<string, unknown>,
  http: number,
  retryAfter?: string,
): KubeError {
  const status = typeof body['code'] === 'number' ? body['code'] : http;
  const reason = typeof body['reason'] === 'string' && body['reason'] !== '' ? body['reason'] : `Http${status}`;
  const message = typeof body['message'] === 'string' ? body['message'] : reason;
  return new KubeError(`${what}: ${message}`, {
    status,
    reason,
    retryAfterMs: retryAfterMs(body, retryAfter),
    causes: causesOf(body),
  });
}

function parseStatus(body: string): Record<string, unknown> | undefined {
  try {
    const parsed: unknown = JSON.parse(body);
    return isObject(parsed) ? parsed : undefined;
  } catch {
    return undefined;
  }
}

function causesOf(body: Record<string, unknown>): KubeCause[] {
  const causes: unknown = isObject(body['details']) ? body['details']['causes'] : undefined;
  if (!Array.isArray(causes)) return [];
  return causes.filter(isObject).map(({ field, message, reason }) => ({
    field: typeof field === 'string' ? field : '',
    message: typeof message === 'string' ? message : '',
    reason: typeof reason === 'string' ? reason : '',
  }));
}

/** Header in seconds (the API server sends no dates), else `details.retryAfterSeconds` of the Status. */
function retryAfterMs(body: Record<string, unknown>, header: string | undefined): number | undefined {
  const details = isObject(body['details']) ? body['details']['retryAfterSeconds'] : undefined;
  const seconds = header === undefined ? details : Number(header);
  return typeof seconds === 'number' && Number.isFinite(seconds) && seconds > 0 ? seconds * 1000 : undefined;
}
