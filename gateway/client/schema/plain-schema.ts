// SPDX-License-Identifier: Apache-2.0
import { isObject } from '#base/json.ts';

/** True only when the validator threads would say that the value fits as well; false says nothing. */
export type PlainCheck = (value: unknown) => boolean;

/** Beyond these a schema is not plain: a check visits each value of a body once, and no deeper than the schema. */
const DEPTH_MAX = 16;
const NODES_MAX = 256;

/** Say nothing about a value; the validator does not check formats either. */
const ANNOTATIONS = new Set([
  '$schema',
  '$comment',
  'title',
  'description',
  'default',
  'examples',
  'deprecated',
  'format',
]);

type Keyword = (argument: unknown, schema: Schema, inside: Inside) => PlainCheck | undefined;
type Schema = Readonly<Record<string, unknown>>;
/** The check of a schema within this one. */
type Inside = (schema: unknown) => PlainCheck | undefined;

const TYPES: Readonly<Record<string, PlainCheck>> = {
  object: isObject,
  array: Array.isArray,
  string: (value) => typeof value === 'string',
  number: Number.isFinite,
  integer: Number.isInteger,
  boolean: (value) => typeof value === 'boolean',
  null: (value) => value === null,
};

const KEYWORDS: Readonly<Record<string, Keyword>> = {
  type: (name) => (typeof name === 'string' ? TYPES[name] : undefined),
  required: (names) =>
    isStrings(names) ? forObjects((value) => names.every((name) => Object.hasOwn(value, name))) : undefined,
  properties: members,
  // Judged with the properties that it is additional to.
  additionalProperties: (allowed, { properties = {} }) =>
    allowed === true ? always : allowed === false && isObject(properties) ? closedTo(properties) : undefined,
  items: (schema, _, inside) => {
    const item = inside(schema);
    return item && forArrays((value) => value.every(item));
  },
  minItems: bound((least) => forArrays((value) => value.length >= least)),
  maxItems: bound((most) => forArrays((value) => value.length <= most)),
  // A string has at least half as many code points as UTF-16 units, and at most as many.
  minLength: bound((least) => forStrings((value) => value.length >= 2 * least || codePoints(value) >= least)),
  maxLength: bound((most) => forStrings((value) => value.length <= most || codePoints(value) <= most)),
  minimum: bound((least) => forNumbers((value) => value >= least)),
  maximum: bound((most) => forNumbers((value) => value <= most)),
  exclusiveMinimum: bound((least) => forNumbers((value) => value > least)),
  exclusiveMaximum: bound((most) => forNumbers((value) => value < most)),
  enum: (values) => (isScalars(values) ? (value) => values.includes(value) : undefined),
  const: (wanted) => (isScalar(wanted) ? (value) => value === wanted : undefined),
};

/**
 * A check for a schema of plain keywords only, whose time is bounded by the length of the body: no pattern, no reference, no alternative.
 * It saves a small body the way to a validator's thread and back. Undefined for every other schema.
 */
export function plainCheck(schema: Schema): PlainCheck | undefined {
  let nodes = 0;
  const compile = (given: unknown, depth: number): PlainCheck | undefined => {
    nodes += 1;
    if (given === true) return always;
    if (!isObject(given) || depth > DEPTH_MAX || nodes > NODES_MAX) return undefined;
    const checks: PlainCheck[] = [];
    for (const [name, argument] of Object.entries(given)) {
      if (ANNOTATIONS.has(name)) continue;
      const keyword = Object.hasOwn(KEYWORDS, name) ? KEYWORDS[name] : undefined;
      const check = keyword?.(argument, given, (inner) => compile(inner, depth + 1));
      if (check === undefined) return undefined;
      checks.push(check);
    }
    return (value) => checks.every((check) => check(value));
  };
  return compile(schema, 0);
}

function members(schemas: unknown, _: Schema, inside: Inside): PlainCheck | undefined {
  if (!isObject(schemas)) return undefined;
  const checks: [string, PlainCheck][] = [];
  for (const [name, schema] of Object.entries(schemas)) {
    const check = inside(schema);
    if (check === undefined) return undefined;
    checks.push([name, check]);
  }
  return forObjects((value) => checks.every(([name, check]) => !Object.hasOwn(value, name) || check(value[name])));
}

function closedTo(properties: Record<string, unknown>): PlainCheck {
  const known = new Set(Object.keys(properties));
  return forObjects((value) => Object.keys(value).every((name) => known.has(name)));
}

function bound(make: (limit: number) => PlainCheck): Keyword {
  return (limit) => (typeof limit === 'number' ? make(limit) : undefined);
}

/** What JSON Schema counts (Validation §6.3). */
function codePoints(text: string): number {
  return Array.from(text).length;
}

function always(): boolean {
  return true;
}

/** Keywords of one type say nothing about values of another. */
function forObjects(check: (value: Record<string, unknown>) => boolean): PlainCheck {
  return (value) => !isObject(value) || check(value);
}

function forArrays(check: (value: readonly unknown[]) => boolean): PlainCheck {
  return (value) => !Array.isArray(value) || check(value);
}

function forStrings(check: (value: string) => boolean): PlainCheck {
  return (value) => typeof value !== 'string' || check(value);
}

function forNumbers(check: (value: number) => boolean): PlainCheck {
  return (value) => typeof value !== 'number' || check(value);
}

function isScalar(value: unknown): boolean {
  return typeof value !== 'object' || value === null;
}

function isScalars(values: unknown): values is readonly unknown[] {
  return Array.isArray(values) && values.every(isScalar);
}

function isStrings(values: unknown): values is readonly string[] {
  return Array.isArray(values) && values.every((value) => typeof value === 'string');
}
