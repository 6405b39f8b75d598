// SPDX-License-Identifier: Apache-2.0
// What the CRD's own schema cannot say of `spec.request.schema`: the API server looks into no preserved field.

/** Largest `maxBytes` of an app with a schema: a body is held whole while it is checked. */
export const REQUEST_SCHEMA_MAX_BODY_BYTES = 8_388_608;
/** Largest schema as JSON: beyond any hand-written one, small enough to be compiled in a moment. */
const SCHEMA_MAX_BYTES = 65_536;
/** Deepest nesting of a schema: compilers recurse. */
const SCHEMA_DEPTH_MAX = 64;
const DIALECTS = /^https?:\/\/json-schema\.org\/(?:draft\/2020-12|draft-07)\/schema#?$/;
/** Keywords whose values are data, not schemas. */
const DATA: readonly string[] = ['const', 'enum', 'default', 'examples'];
const REFERENCES: readonly string[] = ['$ref', '$dynamicRef', '$recursiveRef'];

/** Why a request schema cannot be used, as far as that shows without compiling it; undefined when nothing is wrong. */
export function requestSchemaFault(schema: Readonly<Record<string, unknown>>): string | undefined {
  // Before it is written as JSON, which recurses too.
  const fault = nodeFault(schema, 0);
  if (fault !== undefined) return fault;
  const bytes = Buffer.byteLength(JSON.stringify(schema));
  if (bytes > SCHEMA_MAX_BYTES) return `it has ${bytes} bytes as JSON, and may have ${SCHEMA_MAX_BYTES}`;
  const { $schema: dialect } = schema;
  if (dialect !== undefined && (typeof dialect !== 'string' || !DIALECTS.test(dialect))) {
    return '$schema is neither JSON Schema 2020-12 nor draft-07';
  }
  return undefined;
}

function nodeFault(node: unknown, depth: number, inData = false): string | undefined {
  if (typeof node !== 'object' || node === null) return undefined;
  if (depth > SCHEMA_DEPTH_MAX) return `it is nested deeper than ${SCHEMA_DEPTH_MAX} levels`;
  for (const [key, value] of Object.entries(node)) {
    if (!inData && REFERENCES.includes(key) && typeof value === 'string' && !value.startsWith('#')) {
      return `${key} ${JSON.stringify(value.slice(0, 100))} points out of the schema; only references that start with # are followed`;
    }
    const fault = nodeFault(value, depth + 1, inData || DATA.includes(key));
    if (fault !== undefined) return fault;
  }
  return undefined;
}

/** The JSON Schema dialect that a schema is written in. */
export function dialectOf(schema: Readonly<Record<string, unknown>>): '2020-12' | 'draft-07' {
  const { $schema: dialect } = schema;
  return typeof dialect === 'string' && dialect.includes('draft-07') ? 'draft-07' : '2020-12';
}
