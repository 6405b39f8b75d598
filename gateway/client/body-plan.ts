// SPDX-License-Identifier: Apache-2.0
import type { IncomingMessage } from 'node:http';
import { gatewayError } from '../errors.ts';

/** How a request's body is to be read, from its headers alone: what can be refused is refused before a byte of it is taken. */
export interface BodyPlan {
  readonly contentType: string;
  readonly gzip: boolean;
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
  const gzip = isGzip(req.headers['content-encoding']);
  // A compressor may add 5 bytes per block and a frame to what it cannot shrink (RFC 1951 §3.2.4); more is no honest gzip.
  const maxWireBytes = gzip ? maxBytes + Math.ceil(maxBytes / 1000) + 1024 : maxBytes;
  const declared = req.headers['content-length'];
  if (declared !== undefined && Number(declared) > maxWireBytes) throw bodyTooLarge(maxBytes);
  const contentType = (req.headers['content-type'] ?? DEFAULT_TYPE).trim();
  if (contentType.length > CONTENT_TYPE_MAX || !CONTENT_TYPE.test(contentType)) {
    throw gatewayError('bad-header', 'the Content-Type is not a media type', {
      field: 'header:Content-Type',
      fix: `send type/subtype with printable ASCII parameters, at most ${CONTENT_TYPE_MAX} characters`,
    });
  }
  return { contentType, gzip, json: JSON_TYPE.test(contentType), maxBytes, maxWireBytes };
}

function isGzip(header: string | undefined): boolean {
  switch (header?.trim().toLowerCase()) {
    case undefined:
    case '':
    case 'identity':
      return false;
    case 'gzip':
    case 'x-gzip':
      return true;
    default:
      throw gatewayError('unsupported-encoding', 'the body has a content encoding that is not read here', {
        field: 'header:Content-Encoding',
        fix: 'send the body as it is or with Content-Encoding: gzip',
        headers: { 'accept-encoding': 'gzip, identity' },
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
