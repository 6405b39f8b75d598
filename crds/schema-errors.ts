// SPDX-License-Identifier: Apache-2.0
import type { ErrorObject } from 'ajv';
import { nearest } from './did-you-mean.ts';
import { echo, element, isRecord, member } from './field-error.ts';
import type { FieldError } from './field-error.ts';

/** Most schema errors that are reported for one document. */
const MAX_REPORTED = 32;

/** Errors that leave types, enums and lengths right: as on the API server, CEL rules are still checked beside them. */
const HARMLESS_TO_RULES = new Set(['pattern', 'minimum', 'maximum', 'minItems', 'minLength']);

export function blocksRules(errors: readonly ErrorObject[]): boolean {
  return errors.some((error) => !HARMLESS_TO_RULES.has(error.keyword));
}

/** AJV's errors with Kubernetes' paths and messages that name the fix. */
export function schemaErrors(errors: readonly ErrorObject[], doc: unknown): FieldError[] {
  return errors.slice(0, MAX_REPORTED).map((error) => {
    const path = pathOf(error.instancePath, doc);
    if (error.keyword === 'required') {
      return { path: member(path, text(error, 'missingProperty')), message: 'must be specified' };
    }
    const { message, hint } = explain(error);
    return { path, message, ...(hint ? { hint } : {}) };
  });
}

function explain(error: ErrorObject): { message: string; hint?: string | undefined } {
  const value = echo(error.data);
  const limit = String(error.params.limit);
  switch (error.keyword) {
    case 'type':
      return { message: `must be ${[error.params.type].flat().join(' or ')}, not ${value}` };
    case 'enum': {
      const allowed = [error.params.allowedValues].flat().map(String);
      const near = nearest(String(error.data), allowed);
      return { message: `must be one of ${allowed.join(', ')}, not ${value}`, hint: near && `did you mean ${near}?` };
    }
    case 'pattern':
      return { message: `must match ${text(error, 'pattern')}, not ${value}`, hint: describe(error.parentSchema) };
    case 'minimum':
      return { message: `must be at least ${limit}, not ${value}` };
    case 'maximum':
      return { message: `must be at most ${limit}, not ${value}` };
    case 'minLength':
      return { message: `must have at least ${limit} characters` };
    case 'maxLength':
      return { message: `must have at most ${limit} characters` };
    case 'minItems':
      return { message: `must have at least ${limit} items` };
    case 'maxItems':
      return { message: `must have at most ${limit} items` };
    case 'maxProperties':
      return { message: `must have at most ${limit} members` };
    default:
      return { message: error.message ?? `breaks ${error.keyword}` };
  }
}

function text(error: ErrorObject, param: string): string {
  return String(error.params[param]);
}

function describe(schema: unknown): string | undefined {
  return isRecord(schema) && typeof schema.description === 'string' ? schema.description : undefined;
}

/** JSON pointer → path. Only the document tells whether `0` is an index or the name of a label. */
function pathOf(pointer: string, doc: unknown): string {
  let path = '';
  let here = doc;
  for (const step of pointer.split('/').slice(1)) {
    const key = step.replaceAll('~1', '/').replaceAll('~0', '~');
    if (Array.isArray(here)) {
      path = element(path, Number(key));
      here = here[Number(key)];
    } else {
      path = member(path, key);
      here = isRecord(here) ? here[key] : undefined;
    }
  }
  return path;
}
