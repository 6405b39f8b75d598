// SPDX-License-Identifier: Apache-2.0

interface ErrorKind {
  readonly status: number;
  /** metav1.StatusReason. */
  readonly reason: string;
}

/**
 * Every error of the webhook's own, by code. The first group is answered as HTTP status, because there is no review to answer; the API
 * server then does what `failurePolicy` says. The second happens to a review that was understood.
 */
const KINDS = {
  'not-found': { status: 404, reason: 'NotFound' },
  'method-not-allowed': { status: 405, reason: 'MethodNotAllowed' },
  'too-slow': { status: 408, reason: 'Timeout' },
  'too-large': { status: 413, reason: 'RequestEntityTooLarge' },
  'wrong-media-type': { status: 415, reason: 'UnsupportedMediaType' },
  'headers-too-large': { status: 431, reason: 'BadRequest' },
  malformed: { status: 400, reason: 'BadRequest' },
  busy: { status: 503, reason: 'ServiceUnavailable' },

  'bad-review': { status: 400, reason: 'BadRequest' },
  misrouted: { status: 400, reason: 'BadRequest' },
  late: { status: 504, reason: 'Timeout' },
  internal: { status: 500, reason: 'InternalError' },
} as const satisfies Readonly<Record<string, ErrorKind>>;

export type WebhookErrorCode = keyof typeof KINDS;

export const WEBHOOK_ERROR_CODES = Object.keys(KINDS) as readonly WebhookErrorCode[];

export class WebhookError extends Error {
  readonly code: WebhookErrorCode;
  readonly status: number;
  readonly reason: string;

  constructor(code: WebhookErrorCode, detail: string, options?: ErrorOptions) {
    super(detail, options);
    this.name = 'WebhookError';
    this.code = code;
    this.status = KINDS[code].status;
    this.reason = KINDS[code].reason;
  }
}

/** @param detail a whole sentence for people: what is wrong and what would be right */
export function webhookError(code: WebhookErrorCode, detail: string, cause?: unknown): WebhookError {
  return new WebhookError(code, detail, cause === undefined ? undefined : { cause });
}
