// SPDX-License-Identifier: Apache-2.0
import type { ErrorObject } from 'ajv';
import { nearest } from '#crds/did-you-mean.ts';

/** Longest piece of the document that a message repeats. */
const MAX_ECHO = 80;
/** A regular expression, or the list of words that the fix repeats, says less than the value itself. */
const SHOWN = ['pattern', 'enum', 'const'];

/** The document does not fit; the message names field and fix. */
export class PolicyError extends Error {
  /** `rules[0].ratio` */
  readonly field: string;
  readonly problem: string;
  readonly fix: string;

  constructor(field: string, problem: string, fix: string, options?: ErrorOptions) {
    super(`${field}: ${problem}; ${fix}`, options);
    this.name = 'PolicyError';
    this.field = field;
    this.problem = problem;
    this.fix = fix;
  }
}

/** Of a schema whose descriptions say what to write. */
export function fromSchema(error: ErrorObject | undefined): PolicyError {
  if (error === undefined) return new PolicyError('document', 'is not valid', 'see docs/configuration.md');
  const { parentSchema = {}, params, keyword, message = 'is not valid', propertyName, instancePath, data } = error;
  const at = fieldOf(instancePath, propertyName);
  if (keyword === 'additionalProperties') {
    return unknownField(at, String(params['additionalProperty']), Object.keys(parentSchema['properties'] as object));
  }
  const described: unknown = parentSchema['description'];
  const fix = typeof described === 'string' ? described : 'see docs/configuration.md';
  if (keyword === 'required') return new PolicyError(at, `lacks ${String(params['missingProperty'])}`, fix);
  return new PolicyError(at, SHOWN.includes(keyword) ? `is ${echo(data)}` : message, fix);
}

export function echo(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > MAX_ECHO ? `${text.slice(0, MAX_ECHO)}…` : text;
}

function unknownField(at: string, unknown: string, known: readonly string[]): PolicyError {
  const meant = nearest(unknown, known);
  const fix = meant === undefined ? `known are ${known.join(', ')}` : `did you mean ${meant}?`;
  return new PolicyError(at, `unknown field ${echo(unknown)}`, fix);
}

/** `/rules/0/ratio` → `rules[0].ratio`; keys of labels hold slashes, which JSON pointers write as ~1. */
function fieldOf(path: string, key: string | undefined): string {
  const field = path
    .slice(1)
    .replaceAll(/\/(\d+)(?=\/|$)/g, '[$1]')
    .replaceAll('/', '.');
  const parts = [field.replaceAll('~1', '/').replaceAll('~0', '~'), ...(key === undefined ? [] : [echo(key)])];
  return parts.filter((part) => part !== '').join('.') || 'document';
}
