// SPDX-License-Identifier: Apache-2.0

/** Facts of a payload's bytes that must be told from its object alone when its record is gone. */
export interface PayloadType {
  readonly contentType: string;
  readonly contentEncoding?: string;
}

const MARK = '; penstock-encoding=gzip';
/** Longest content type of an object (`checkContentType`). */
const TYPE_MAX_CHARS = 255;
/** Says as little as can be said, where the type is too long to carry the mark too. */
const SHORT_TYPE = 'application/octet-stream';

/**
 * The content type under which a result is stored. A store keeps one fact beside the bytes; that they are gzip travels in it as a
 * parameter of ours, because a signed PUT signs this header and no driver keeps Content-Encoding.
 */
export function storedType({ contentType, contentEncoding }: PayloadType): string {
  if (contentEncoding !== 'gzip') return contentType;
  return `${contentType.length + MARK.length > TYPE_MAX_CHARS ? SHORT_TYPE : contentType}${MARK}`;
}

/** The way back. */
export function payloadType(stored: string): PayloadType {
  if (!stored.endsWith(MARK)) return { contentType: stored };
  return { contentType: stored.slice(0, -MARK.length), contentEncoding: 'gzip' };
}
