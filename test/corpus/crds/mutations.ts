// SPDX-License-Identifier: Apache-2.0
// Systematic mutations: every node of the schemas, reached in a document that sets it, broken in every way it can be.
import { CRD_FILES, loadCrd } from '#hack/generate-schema.ts';
import type { Schema } from '#hack/generate-schema.ts';
import { edit, FULL_HANDLER, FULL_PLACEMENT, FULL_SIDECAR, MIG_HANDLER, valueAt, VRAM_HANDLER } from './case.ts';
import type { Doc, InvalidCase, KindName, ValidCase } from './case.ts';

const root = new URL('../../../', import.meta.url);

interface Node {
  readonly path: string;
  readonly schema: Schema;
  readonly base: Doc;
}

/** One wrong value for a node; `at` is where the error must be named, relative to the node. */
interface Mutation {
  readonly name: string;
  readonly value: unknown;
  readonly at?: string;
}

const BASES: readonly [KindName, readonly Doc[]][] = [
  ['InferenceApp', [FULL_HANDLER, FULL_SIDECAR, MIG_HANDLER, VRAM_HANDLER]],
  ['Placement', [FULL_PLACEMENT]],
];

function schemaOf(kind: KindName): Schema {
  const crd = CRD_FILES.map((file) => loadCrd(root, file)).find((found) => found.kind === kind);
  const spec = crd?.schema.properties?.spec;
  if (!spec) throw new Error(`no schema of ${kind}`);
  return spec;
}

/** Every node below spec that the document sets, lists by their first item only. */
function nodesOf(base: Doc, schema: Schema, path: string): Node[] {
  if (valueAt(base, path) === undefined) return [];
  return [
    { path, schema, base },
    ...Object.entries(schema.properties ?? {}).flatMap(([key, sub]) => nodesOf(base, sub, `${path}.${key}`)),
    ...(schema.items ? nodesOf(base, schema.items, `${path}[0]`) : []),
  ];
}

function allNodes(kind: KindName, bases: readonly Doc[]): Node[] {
  const seen = new Set<string>();
  return bases
    .flatMap((base) => nodesOf(base, schemaOf(kind), 'spec'))
    .filter(({ path }) => !seen.has(path) && seen.add(path));
}

/** Every broken document, none of them twice. */
export function mutations(): InvalidCase[] {
  return BASES.flatMap(([kind, bases]) =>
    allNodes(kind, bases).flatMap(({ path, schema, base }) =>
      wrongValues(schema, valueAt(base, path)).map(({ name, value, at }): InvalidCase => ({
        name: `${kind} ${path}: ${name}`,
        kind,
        doc: edit(base, { [path]: value }),
        path: path + (at ?? ''),
      })),
    ),
  );
}

/** Documents at the very limits. Whether a rule objects is not said here: both sides must only agree. */
export function boundaries(): ValidCase[] {
  return BASES.flatMap(([kind, bases]) =>
    allNodes(kind, bases).flatMap(({ path, schema, base }) =>
      edgeValues(schema).map((value): ValidCase => ({
        name: `${kind} ${path} = ${JSON.stringify(value).slice(0, 40)}`,
        kind,
        doc: edit(base, { [path]: value }),
      })),
    ),
  );
}

/** Paths in the schemas of spec, `[0]` for items: what the documents above must reach. */
export function schemaPaths(kind: KindName): string[] {
  const walk = (schema: Schema, path: string): string[] => [
    path,
    ...Object.entries(schema.properties ?? {}).flatMap(([key, sub]) => walk(sub, `${path}.${key}`)),
    ...(schema.items ? walk(schema.items, `${path}[0]`) : []),
  ];
  return walk(schemaOf(kind), 'spec');
}

export function reachedPaths(kind: KindName): string[] {
  const bases = BASES.find(([name]) => name === kind)?.[1] ?? [];
  return allNodes(kind, bases).map(({ path }) => path);
}

function wrongValues(schema: Schema, value: unknown): Mutation[] {
  return [...wrongTypes(schema), ...wrongScalars(schema), ...wrongLists(schema, value), ...wrongObjects(schema, value)];
}

function wrongTypes(schema: Schema): Mutation[] {
  const types: Mutation[] = [
    { name: 'an object', value: {} },
    { name: 'a list', value: [] },
    { name: 'a string', value: 'x' },
    { name: 'a number', value: 7 },
    { name: 'a truth value', value: true },
  ];
  const own = { object: [0], array: [1], string: [2], integer: [3], number: [3], boolean: [4] };
  const right = schema['x-kubernetes-int-or-string'] ? [2, 3] : own[schema.type ?? 'object'];
  return types.filter((_, index) => !right.includes(index));
}

function wrongScalars(schema: Schema): Mutation[] {
  const { enum: allowed, pattern, minLength, maxLength, minimum, maximum, type } = schema;
  return [
    ...(allowed
      ? [
          { name: 'not in the list', value: `${allowed[0]}x` },
          { name: 'in other letters', value: otherLetters(allowed[0] ?? '') },
        ]
      : []),
    ...(pattern
      ? [
          { name: 'a line break', value: 'a\nb' },
          { name: 'a NUL', value: '\u0000' },
        ]
      : []),
    ...(minLength ? [{ name: 'too short', value: 'x'.repeat(minLength - 1) }] : []),
    ...(maxLength ? [{ name: 'too long', value: '1'.repeat(maxLength + 1) }] : []),
    ...(minimum === undefined ? [] : [{ name: 'too small', value: minimum - 1 }]),
    ...(maximum === undefined || maximum >= Number.MAX_SAFE_INTEGER ? [] : [{ name: 'too large', value: maximum + 1 }]),
    ...(type === 'integer' ? [{ name: 'a fraction', value: (minimum ?? 0) + 0.5 }] : []),
  ];
}

function otherLetters(text: string): string {
  return text === text.toUpperCase() ? text.toLowerCase() : text.toUpperCase();
}

function wrongLists({ minItems, maxItems, items }: Schema, value: unknown): Mutation[] {
  if (!items || !Array.isArray(value)) return [];
  const many = Array.from({ length: (maxItems ?? 0) + 1 }, (_, index) => distinct(value[0], index));
  return [
    { name: 'too many items', value: many },
    { name: 'null as an item', value: [...value, null], at: `[${value.length}]` },
    ...(minItems ? [{ name: 'no items', value: [] }] : []),
  ];
}

function distinct(item: unknown, index: number): unknown {
  if (typeof item === 'string') return `${item}${index}`;
  if (typeof item !== 'object' || item === null || !('name' in item)) return item;
  return { ...item, name: `n${index}` };
}

function wrongObjects(schema: Schema, value: unknown): Mutation[] {
  if (schema.type !== 'object' || typeof value !== 'object' || value === null) return [];
  const without = (key: string): unknown => Object.fromEntries(Object.entries(value).filter(([name]) => name !== key));
  return [
    ...(schema.properties ? [{ name: 'an unknown member', value: { ...value, zzz: 1 }, at: '.zzz' }] : []),
    ...(schema.required ?? []).map((key) => ({ name: `no ${key}`, value: without(key), at: `.${key}` })),
    ...(schema.maxProperties ? [{ name: 'too many members', value: labels(schema.maxProperties + 1) }] : []),
  ];
}

function labels(count: number): Record<string, string> {
  return Object.fromEntries(Array.from({ length: count }, (_, index) => [`label-${index}`, 'x']));
}

/** Values on the limits that the pattern, if any, allows. */
function edgeValues(schema: Schema): unknown[] {
  const { enum: allowed, pattern, minLength, maxLength, minimum, maximum, maxItems, items } = schema;
  const texts = [minLength, maxLength]
    .filter((length) => length !== undefined)
    .flatMap((length) => ['a', '1', 'é', '/', '\u{1F600}'].map((char) => char.repeat(length)))
    .filter((text) => !pattern || new RegExp(pattern, 'u').test(text));
  const lists =
    items?.type === 'string' && maxItems ? [Array.from({ length: maxItems }, (_, index) => `v${index}`), []] : [];
  return [...(allowed ?? []), ...texts, ...[minimum, maximum].filter((n) => n !== undefined), ...lists];
}
