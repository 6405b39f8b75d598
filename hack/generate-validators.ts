// SPDX-License-Identifier: Apache-2.0
import { Ajv } from 'ajv';
import standaloneModule from 'ajv/dist/standalone/index.js';
import type { Crd, Schema } from './generate-schema.ts';
import { OBJECT_META } from './generate-object-meta.ts';

// AJV is CommonJS: Node hands out module.exports as the default import, the function is its member.
const standaloneCode = standaloneModule.default;

/** JavaScript source of one AJV validator per kind; nothing is compiled at run time. */
export function emitValidators(crds: readonly Crd[], head: string): string {
  const ajv = new Ajv({
    allErrors: true,
    verbose: true,
    allowUnionTypes: true,
    code: { source: true, esm: true, lines: true },
  });
  const names: Record<string, string> = {};
  for (const crd of crds) {
    ajv.addSchema(rootSchema(crd), crd.kind);
    names[`is${crd.kind}`] = crd.kind;
  }
  return head + selfContained(standaloneCode(ajv, names));
}

/** Declarations beside the JavaScript. */
export function emitValidatorTypes(crds: readonly Crd[], head: string): string {
  const lines = crds.map((crd) => `export const is${crd.kind}: ValidateFunction;`);
  return `${head}import type { ValidateFunction } from 'ajv';\n\n${lines.join('\n')}\n`;
}

const NAME = 'A DNS label: lower-case letters, digits and -, no dots, at most 40 characters.';

/** Length as the API server counts it, in code points: what AJV's own helper of this name does. */
const LENGTH = `function ucs2length(text) {
  let length = 0;
  for (const _ of text) length++;
  return length;
}`;

/**
 * AJV writes CommonJS requires even into ES modules (ajv issue 2209), and Node, esbuild and vitest each import such a
 * module's default in their own way. The one helper that these schemas need is written out instead.
 */
function selfContained(code: string): string {
  const body = code.replaceAll('require("ajv/dist/runtime/ucs2length").default', 'ucs2length');
  if (body.includes('require(')) throw new Error('the validators would need require()');
  return `${LENGTH}\n${body}\n`;
}

function rootSchema(crd: Crd): object {
  const properties = crd.schema.properties ?? {};
  // status is left out: the API server drops it from a create or update before it validates.
  const { name } = properties.metadata?.properties ?? {};
  if (!name || !properties.spec) throw new Error(`${crd.file}: must have metadata.name and spec`);
  return {
    type: 'object',
    required: ['apiVersion', 'kind', 'metadata', 'spec'],
    properties: {
      apiVersion: { type: 'string', enum: [`${crd.group}/${crd.version}`] },
      kind: { type: 'string', enum: [crd.kind] },
      metadata: {
        ...OBJECT_META,
        properties: { ...OBJECT_META.properties, name: { ...jsonSchema(name), description: NAME } },
      },
      spec: jsonSchema(properties.spec),
    },
  };
}

const COPIED = [
  'enum',
  'pattern',
  'minLength',
  'maxLength',
  'minimum',
  'maximum',
  'minItems',
  'maxItems',
  'maxProperties',
] as const;

/**
 * One node as JSON Schema. Unknown members, defaults, list-maps and CEL rules are not AJV's: crds/validate.ts does them
 * the way the API server does. Integer formats say no more than minimum and maximum.
 */
function jsonSchema(schema: Schema): object {
  const type = schema['x-kubernetes-int-or-string'] ? ['integer', 'string'] : schema.type;
  const copied = COPIED.filter((key) => schema[key] !== undefined).map((key) => [key, schema[key]]);
  const properties = Object.entries(schema.properties ?? {}).map(([key, sub]) => [key, jsonSchema(sub)]);
  return {
    type,
    ...Object.fromEntries(copied),
    // Shown as the fix when the pattern does not match: a regular expression alone is no clear answer.
    ...(schema.pattern ? { description: schema.description } : {}),
    ...(schema.required ? { required: schema.required } : {}),
    ...(schema.properties ? { properties: Object.fromEntries(properties) } : {}),
    ...(schema.additionalProperties ? { additionalProperties: jsonSchema(schema.additionalProperties) } : {}),
    ...(schema.items ? { items: jsonSchema(schema.items) } : {}),
  };
}
