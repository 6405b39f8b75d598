// SPDX-License-Identifier: Apache-2.0
import { hash } from 'node:crypto';
import { gatewayError } from '../errors.ts';
import { KEY_MAX_CHARS } from '../limits.ts';

/**
 * The client's own key from `Idempotency-Key`: a structured-field string (`"abc"`, RFC 9651 §3.3.3, as the httpapi draft
 * wants it) or the bare characters that most clients send.
 * @throws ProblemError 400
 */
export function parseIdempotencyKey(header: string | string[] | undefined): string | undefined {
  if (header === undefined) return undefined;
  const text = (typeof header === 'string' ? header : header.join(', ')).trim();
  const key = text.startsWith('"') ? unquote(text) : bare(text);
  if (key !== undefined && key !== '' && key.length <= KEY_MAX_CHARS) return key;
  throw gatewayError('bad-header', 'the idempotency key is not one quoted string or one word', {
    field: 'header:Idempotency-Key',
    fix: `send 1 to ${KEY_MAX_CHARS} printable ASCII characters, in double quotes if they hold blanks or commas`,
  });
}

function unquote(text: string): string | undefined {
  if (!/^"(?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*"$/.test(text)) return undefined;
  return text.slice(1, -1).replaceAll(/\\(["\\])/g, '$1');
}

function bare(text: string): string | undefined {
  return /^[\x21\x23-\x2b\x2d-\x5b\x5d-\x7e]+$/.test(text) ? text : undefined;
}

/** Reads the raw JSON text of a `_rid`: a string, or an integer that is taken as its digits. */
export function parseRid(member: { readonly text: string } | 'absent' | 'unusable'): string | undefined {
  if (member === 'absent') return undefined;
  const value: unknown = member === 'unusable' ? undefined : JSON.parse(member.text);
  return ridOf(value);
}

/** @throws ProblemError 400 unless it is a string of bounded length or an integer */
export function ridOf(value: unknown): string {
  if (typeof value === 'string' && value !== '' && value.length <= KEY_MAX_CHARS) return value;
  if (typeof value === 'number' && Number.isSafeInteger(value)) return String(value);
  throw gatewayError('bad-body', '_rid is neither a string nor an integer', {
    field: 'body._rid',
    fix: `make _rid a string of 1 to ${KEY_MAX_CHARS} characters or an integer, or leave it out`,
  });
}

/**
 * The one key that the header and the body name together.
 * @throws ProblemError 400 when they differ
 */
export function explicitKey(header: string | undefined, rid: string | undefined): string | undefined {
  if (header !== undefined && rid !== undefined && header !== rid) {
    throw gatewayError('rid-mismatch', 'the Idempotency-Key header and _rid in the body name different requests', {
      field: 'header:Idempotency-Key',
      fix: 'send one of the two, or the same value in both',
    });
  }
  return header ?? rid;
}

/**
 * Key under which equal requests join (DESIGN §3.2). The queue keeps it per app; tenant and revision are in it. The client's own
 * key goes in as a digest, so that nothing a user wrote becomes part of a stored name.
 */
export function dedupeKey(
  scope: { readonly tenant: string; readonly revision: string },
  explicit: string | undefined,
  contentDigest: string,
): string {
  const name = explicit === undefined ? `c:${contentDigest}` : `k:${hash('sha256', explicit)}`;
  return `${scope.tenant}:${scope.revision}:${name}`;
}
