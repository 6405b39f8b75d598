// SPDX-License-Identifier: Apache-2.0
import { problemTable } from '#base/problem.ts';
import type { ProblemError } from '#base/problem.ts';
import { QueueError } from './queue/errors.ts';

/** Every error that leaves the gateway. A missing GPU is none of them: a burst deepens the queue. */
export const gatewayError = problemTable({
  'bad-request': { status: 400, title: 'The request is not valid HTTP' },
  'bad-path': { status: 400, title: 'The path is not valid' },
  'bad-header': { status: 400, title: 'A header is not valid' },
  'bad-query': { status: 400, title: 'The query is not valid' },
  'bad-body': { status: 400, title: 'The body is not valid' },
  'bad-json': { status: 400, title: 'The body is not valid JSON' },
  'rid-mismatch': { status: 400, title: 'Idempotency-Key and _rid differ' },
  unauthenticated: { status: 401, title: 'No valid credential' },
  'credential-revoked': { status: 401, title: 'The credential was revoked' },
  'unit-retired': { status: 401, title: 'The unit was retired' },
  forbidden: { status: 403, title: 'The credential does not allow this' },
  'not-found': { status: 404, title: 'No such route' },
  'app-unknown': { status: 404, title: 'No such app' },
  'ticket-unknown': { status: 404, title: 'No such ticket' },
  'dead-letter-unknown': { status: 404, title: 'No such dead letter' },
  'method-not-allowed': { status: 405, title: 'The method is not allowed here' },
  'request-timeout': { status: 408, title: 'The request came too slowly' },
  'app-draining': { status: 409, title: 'The app is draining' },
  'app-deleting': { status: 409, title: 'The app is being deleted' },
  'app-misconfigured': { status: 409, title: 'The app cannot be used as it is configured' },
  cancelled: { status: 409, title: 'The request was cancelled' },
  'already-final': { status: 409, title: 'The request has ended' },
  'lease-lost': { status: 409, title: 'The lease is no longer held' },
  'unit-busy': { status: 409, title: 'The unit holds a live lease' },
  'result-expired': { status: 410, title: 'The result was kept as long as promised and is gone' },
  'body-too-large': { status: 413, title: 'The body is too large' },
  'unsupported-encoding': { status: 415, title: 'The content encoding is not supported' },
  'unsupported-media-type': { status: 415, title: 'The content type is not supported' },
  'expectation-failed': { status: 417, title: 'The expectation cannot be met' },
  'body-invalid': { status: 422, title: 'The body does not fit the schema of the app' },
  'check-overrun': { status: 422, title: 'The body could not be checked in time' },
  'key-reused': { status: 422, title: 'The idempotency key was used for another body' },
  'deadline-passed': { status: 422, title: 'The deadline passed before the request could run' },
  'input-refused': { status: 422, title: 'The handler refused the input' },
  'upload-missing': { status: 422, title: 'The result object is not there' },
  'rate-limited': { status: 429, title: 'The tenant sends requests faster than it may' },
  'queue-full': { status: 429, title: 'The tenant has as many requests queued as it may' },
  'headers-too-large': { status: 431, title: 'The headers are too large' },
  'handler-failed': { status: 500, title: 'The request failed' },
  'request-lost': { status: 500, title: 'The request was lost' },
  internal: { status: 500, title: 'Internal error' },
  overloaded: { status: 503, title: 'The gateway has more to do than it can' },
  'not-ready': { status: 503, title: 'The gateway is not ready' },
  'credential-unchecked': { status: 503, title: 'The credential cannot be checked now' },
  'queue-unavailable': { status: 503, title: 'The queue cannot be reached' },
  'store-unavailable': { status: 503, title: 'The object store cannot be reached' },
});

/** The answer to what nobody foresaw: details stay in the log. */
export function internalError(cause: unknown): ProblemError {
  return gatewayError(
    'internal',
    'something went wrong in the gateway; its log has the details under this request id',
    {
      cause,
      fix: 'try again; report the request id if it persists',
    },
  );
}

/** The queue could not be asked: nothing was promised, so trying again is safe. A call that it calls invalid is our own fault. */
export function queueUnavailable(cause: unknown): ProblemError {
  if (cause instanceof QueueError && cause.code === 'invalid') return internalError(cause);
  return gatewayError('queue-unavailable', 'the queue did not take the call', {
    cause,
    fix: 'try again; a repeat joins the first one if that was stored after all',
    headers: { 'retry-after': '1' },
  });
}

export function storeUnavailable(cause: unknown): ProblemError {
  return gatewayError('store-unavailable', 'the object store did not take the call', {
    cause,
    fix: 'try again in a moment',
    headers: { 'retry-after': '1' },
  });
}
