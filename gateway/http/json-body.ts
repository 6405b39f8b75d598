// SPDX-License-Identifier: Apache-2.0
import { isUtf8 } from 'node:buffer';
import type { IncomingMessage } from 'node:http';
import { Ajv } from 'ajv';
import type { ErrorObject } from 'ajv';
import { gatewayError } from '../errors.ts';
import type { Exchange } from './exchange.ts';
import { jsonFault } from './json-scanner.ts';

/**
 * Reads a JSON body of at most `limit` bytes. An empty body reads as `{}`.
 * @throws ProblemError 413, 415, or 400 with the position of the fault
 */
export async function readJson({ req, res }: Exchange, limit: number): Promise<unknown> {
  checkMediaType(req);
  const declared = Number(req.headers['content-length'] ?? 0);
  if (declared > limit) throw tooLarge(limit);
  if (req.headers.expect !== undefined) res.writeContinue();
  const bytes = await readBytes(req, limit);
  return bytes.length === 0 ? {} : parseJson(bytes);
}

/**
 * @throws ProblemError 400 for bytes that are not JSON in UTF-8, which decoding would silently make another text of; it names the
 *   byte at which they stop being it
 */
export function parseJson(bytes: Buffer): unknown {
  if (!isUtf8(bytes)) throw badJson(bytes);
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    throw badJson(bytes);
  }
}

function badJson(bytes: Uint8Array): Error {
  const fault = jsonFault(bytes);
  return gatewayError('bad-json', `the body is not JSON: ${fault.reason} at byte ${fault.position}`, {
    field: 'body',
    position: fault.position,
    fix: 'send well-formed JSON (RFC 8259) in UTF-8',
  });
}

function checkMediaType(req: IncomingMessage): void {
  const type = req.headers['content-type'];
  if (type !== undefined && !/^application\/json\s*(;|$)/i.test(type)) {
    throw gatewayError('unsupported-media-type', 'this route takes JSON', {
      field: 'header:Content-Type',
      fix: 'send Content-Type: application/json',
    });
  }
  if (req.headers['content-encoding'] !== undefined) {
    throw gatewayError('unsupported-encoding', 'this route takes no content encoding', {
      field: 'header:Content-Encoding',
      fix: 'send the JSON as it is',
    });
  }
}

function readBytes(req: IncomingMessage, limit: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    req.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size <= limit) chunks.push(chunk);
      else {
        req.removeAllListeners('data');
        reject(tooLarge(limit));
      }
    });
    req.once('end', () => resolve(chunks.length === 1 ? (chunks[0] ?? Buffer.alloc(0)) : Buffer.concat(chunks)));
    req.once('error', reject);
  });
}

function tooLarge(limit: number): Error {
  return gatewayError('body-too-large', `the body is larger than ${limit} bytes`, {
    field: 'body',
    fix: `send at most ${limit} bytes`,
  });
}

/** A checker for one schema; compiled once. */
export type Check<T> = (value: unknown) => T;

const ajv = new Ajv({ allErrors: false, strict: true, strictTypes: false });

/** @throws from the checker: ProblemError 400 with the path of the member and what it should be */
export function checker<T>(schema: object): Check<T> {
  const validate = ajv.compile<T>(schema);
  return (value) => {
    if (validate(value)) return value;
    const [field, fix] = explain(validate.errors?.[0]);
    throw gatewayError('bad-body', `${field}: ${fix}`, { field, fix });
  };
}

function explain(error: ErrorObject | undefined): [field: string, fix: string] {
  const at = `body${(error?.instancePath ?? '').replaceAll(/\/(\d+)/g, '[$1]').replaceAll('/', '.')}`;
  const params: Record<string, unknown> = error?.params ?? {};
  switch (error?.keyword) {
    case 'additionalProperties':
      return [`${at}.${String(params['additionalProperty'])}`, 'is not known here; leave it out'];
    case 'required':
      return [`${at}.${String(params['missingProperty'])}`, 'is required'];
    case 'enum':
      return [at, `must be one of ${JSON.stringify(params['allowedValues'])}`];
    default:
      return [at, error?.message ?? 'is not valid'];
  }
}
