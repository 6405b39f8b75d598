// SPDX-License-Identifier: Apache-2.0
import type { IncomingMessage } from 'node:http';
import { gatewayError } from '../errors.ts';
import type { Coding } from './decoding.ts';

/** How a request's body is to be read, from its headers alone: what can be refused is refused before a byte of it is taken. */
export interface BodyPlan {
  readonly contentType: string;
  readonly coding: Coding;
  readonly json: boolean;
  /** Most bytes after inflation. */
  readonly maxBytes: number;
  /** Most bytes on the wire. */
  readonly maxWireBytes: number;
}

const DEFAULT_TYPE = 'application/octet-stream';
/** It becomes a response header and part of a signature: a media type and printable ASCII, nothing else. */
const CONTENT_TYPE = /^[A-Za-z0-9!#$&^_.+-]+\/[A-Za-z0-9!#$&^_.+-]+(?:\s*;[ -~]*)?$/;
const CONTENT_TYPE_MAX = 255;
const JSON_TYPE = /^application\/(?:[A-Za-z0-9!#$&^_.-]+\+)?json\s*(?:;|$)/i;

/**
 * @param maxBytes the app's limit of inflated bytes
 * @throws ProblemError 400, 413, 415
 */
export function planBody(req: IncomingMessage, maxBytes: number): BodyPlan {
  const coding = codingOf(req.headers['content-encoding']);
  // A compressor may add 5 bytes per block and a frame to what it cannot shrink (RFC 1951 §3.2.4, less in RFC 8878): more is not honest.
  const maxWireBytes = coding === 'identity' ? maxBytes : maxBytes + Math.ceil(maxBytes / 1000) + 1024;
  const declared = req.headers['content-length'];
  if (declared !== undefined && Number(declared) > maxWireBytes) throw bodyTooLarge(maxBytes);
  const contentType = (req.headers['content-type'] ?? DEFAULT_TYPE).trim();
  if (contentType.length > CONTENT_TYPE_MAX || !CONTENT_TYPE.test(contentType)) {
    throw gatewayError('bad-header', 'the Content-Type is not a media type', {
      field: 'header:Content-Type',
      fix: `send type/subtype with printable ASCII parameters, at most ${CONTENT_TYPE_MAX} characters`,
    });
  }
  return { contentType, coding, json: JSON_TYPE.test(contentType), maxBytes, maxWireBytes };
}

/** One coding at most: each further one is another inflater to be held to its bounds, and no client needs two. */
function codingOf(header: string | undefined): Coding {
  switch (header?.trim().toLowerCase()) {
    case undefined:
    case '':
    case 'identity':
      return 'identity';
    case 'gzip':
    case 'x-gzip':
      return 'gzip';
    case 'deflate':
      return 'deflate';
    case 'zstd':
      return 'zstd';
    default:
      throw gatewayError('unsupported-encoding', 'the body has a content encoding that is not read here', {
        field: 'header:Content-Encoding',
        fix: 'send the body as it is, or in one of gzip, deflate and zstd',
        // RFC 7694 §3: what the next request may use.
        headers: { 'accept-encoding': 'gzip, deflate, zstd, identity' },
      });
  }
}

export function bodyTooLarge(maxBytes: number): Error {
  return gatewayError('body-too-large', `the body is larger than the ${maxBytes} bytes that the app takes`, {
    field: 'body',
    max_bytes: maxBytes,
    fix: `send at most ${maxBytes} bytes after decompression, or raise spec.request.maxBytes of the app`,
  });
}
