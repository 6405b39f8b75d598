// SPDX-License-Identifier: Apache-2.0
import type { ErrorObject, ValidateFunction } from 'ajv';
import { Ajv } from 'ajv';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { dialectOf } from '#crds/request-schema.ts';
import type { BodyFault, BodyVerdict, LoadVerdict } from './verdict.ts';

/** Faults that an answer lists. */
export const FAULTS_MAX = 20;
/** Characters of one pointer or detail: member names and values in them are the client's. */
const TEXT_MAX = 256;
/** Bodies up to this length get all their faults listed, longer ones the first: a million wrong items are a million objects. */
const ALL_ERRORS_MAX_CHARS = 65_536;

/** Checks bodies against loaded schemas. It lives in a thread of its own: both schema and body are somebody else's. */
export interface Validator {
  /** Compiles a schema. */
  load(id: string, source: string): LoadVerdict;
  drop(id: string): void;
  /** Of a schema that is loaded. */
  check(id: string, body: string): BodyVerdict;
}

interface Compiled {
  readonly first: ValidateFunction;
  readonly all: ValidateFunction;
}

export function createValidator(): Validator {
  const compiled = new Map<string, Compiled>();
  return {
    load: (id, source) => {
      const from = performance.now();
      try {
        const schema = JSON.parse(source) as Record<string, unknown>;
        compiled.set(id, { first: compile(schema, false), all: compile(schema, true) });
      } catch (err) {
        return { kind: 'unusable', reason: cut(err instanceof Error ? err.message : String(err)) };
      }
      return { kind: 'loaded', ms: performance.now() - from };
    },
    drop: (id) => void compiled.delete(id),
    check: (id, body) => {
      const found = compiled.get(id);
      if (found === undefined) throw new Error(`schema ${id} is not loaded`);
      return check(found, body);
    },
  };
}

/** Each in an instance of its own: what one schema calls itself by `$id` must not be what another one refers to. */
function compile(schema: Record<string, unknown>, allErrors: boolean): ValidateFunction {
  const Dialect = dialectOf(schema) === 'draft-07' ? Ajv : Ajv2020;
  const ajv = new Dialect({
    allErrors,
    // Unknown keywords are refused: a misspelt one would silently check nothing. What is only unusual style is not.
    strict: true,
    strictTypes: false,
    strictTuples: false,
    strictRequired: false,
    allowUnionTypes: true,
    // An annotation in 2020-12 (JSON Schema Validation §7.2.1).
    validateFormats: false,
    // `required: [constructor]` must not be satisfied by every object.
    ownProperties: true,
    logger: false,
  });
  const validate = ajv.compile(schema);
  if ('$async' in validate) throw new Error('$async is not JSON Schema');
  return validate;
}

function check({ first, all }: Compiled, body: string): BodyVerdict {
  try {
    const value: unknown = JSON.parse(body);
    if (first(value)) return { kind: 'fits' };
    if (body.length > ALL_ERRORS_MAX_CHARS) return misfits(first.errors ?? [], true);
    all(value);
    return misfits(all.errors ?? [], false);
  } catch (err) {
    if (!(err instanceof RangeError)) throw err;
    const detail = 'is nested deeper than a schema that refers to itself can be followed';
    return { kind: 'misfits', errors: [{ pointer: '', detail }], more: false };
  }
}

function misfits(errors: readonly ErrorObject[], more: boolean): BodyVerdict {
  return {
    kind: 'misfits',
    errors: errors.slice(0, FAULTS_MAX).map(faultOf),
    more: more || errors.length > FAULTS_MAX,
  };
}

function faultOf({ instancePath, keyword, params, message }: ErrorObject): BodyFault {
  const own: Record<string, unknown> = params;
  const at = (name: unknown): string => cut(`${instancePath}/${escape(String(name))}`);
  switch (keyword) {
    case 'required':
      return { pointer: at(own['missingProperty']), detail: 'is required' };
    case 'additionalProperties':
      return { pointer: at(own['additionalProperty']), detail: 'is not known here' };
    case 'unevaluatedProperties':
      return { pointer: at(own['unevaluatedProperty']), detail: 'is not known here' };
    case 'enum':
      return { pointer: cut(instancePath), detail: cut(`must be one of ${JSON.stringify(own['allowedValues'])}`) };
    case 'const':
      return { pointer: cut(instancePath), detail: cut(`must be ${JSON.stringify(own['allowedValue'])}`) };
    default:
      return { pointer: cut(instancePath), detail: cut(message ?? `does not satisfy ${keyword}`) };
  }
}

/** RFC 6901 §3. */
function escape(name: string): string {
  return name.replaceAll('~', '~0').replaceAll('/', '~1');
}

function cut(text: string): string {
  return text.length <= TEXT_MAX ? text : `${text.slice(0, TEXT_MAX - 1)}…`;
}
