// SPDX-License-Identifier: Apache-2.0
import type { Crd, Schema } from './generate-schema.ts';

/** Collects the interfaces of one kind; equal schemas share one interface, others never share a name. */
interface Names {
  kind: string;
  /** name → [JSON of the schema, emitted interface], in order of first use. */
  byName: Map<string, { json: string; text: string }>;
}

/** TypeScript source of one kind: an object as the API server returns it, i.e. with defaults filled in. */
export function emitTypes(crd: Crd, head: string): string {
  const names: Names = { kind: crd.kind, byName: new Map() };
  const spec = crd.schema.properties?.spec;
  const status = crd.schema.properties?.status;
  if (!spec || !status) throw new Error(`${crd.file}: must have spec and status`);
  const root = [
    doc(crd.schema, ''),
    `export interface ${crd.kind} {`,
    `  apiVersion: '${crd.group}/${crd.version}';`,
    `  kind: '${crd.kind}';`,
    '  metadata: ObjectMeta;',
    `  spec: ${typeOf(spec, 'spec', crd.kind, names)};`,
    `  status?: ${typeOf(status, 'status', crd.kind, names)};`,
    '}',
  ].join('\n');
  const parts = [...names.byName.values()].map((entry) => entry.text);
  return `${head}import type { ObjectMeta } from './object-meta.ts';\n\n${[root, ...parts].join('\n\n')}\n`;
}

function typeOf(schema: Schema, key: string, parent: string, names: Names): string {
  if (schema['x-kubernetes-int-or-string']) return 'number | string';
  if (schema.enum) return schema.enum.map((value) => `'${value}'`).join(' | ');
  switch (schema.type) {
    case 'object':
      return objectType(schema, key, parent, names);
    case 'array': {
      if (!schema.items) throw new Error(`${parent}.${key}: an array needs items`);
      const item = typeOf(schema.items, singular(key), parent, names);
      return item.includes(' ') ? `(${item})[]` : `${item}[]`;
    }
    case 'integer':
    case 'number':
      return 'number';
    case 'string':
    case 'boolean':
      return schema.type;
    default:
      throw new Error(`${parent}.${key}: no type`);
  }
}

function objectType(schema: Schema, key: string, parent: string, names: Names): string {
  if (schema['x-kubernetes-preserve-unknown-fields']) return 'Record<string, unknown>';
  if (schema.additionalProperties) {
    return `Record<string, ${typeOf(schema.additionalProperties, key, parent, names)}>`;
  }
  const json = JSON.stringify({ ...schema, description: undefined, default: undefined });
  const short = names.kind + pascal(key);
  const known = names.byName.get(short);
  const name = known && known.json !== json ? parent + pascal(key) : short;
  const clash = names.byName.get(name);
  if (clash && clash.json !== json) throw new Error(`two different schemas want the name ${name}`);
  if (clash) return name;
  const entry = { json, text: '' };
  names.byName.set(name, entry);
  const fields = Object.entries(schema.properties ?? {}).map(([field, sub]) => {
    const always = sub.default !== undefined || (schema.required ?? []).includes(field);
    return `${doc(sub, '  ')}\n  ${field}${always ? '' : '?'}: ${typeOf(sub, field, name, names)};`;
  });
  entry.text = [doc(schema, ''), `export interface ${name} {`, ...fields, '}'].join('\n');
  return name;
}

function doc(schema: Schema, indent: string): string {
  const text = (schema.description ?? '').replaceAll('*/', '* /');
  const lines = [...wrap(text, 112 - indent.length), ...facts(schema)];
  if (lines.length === 1) return `${indent}/** ${lines[0]} */`;
  return `${indent}/**\n${lines.map((line) => `${indent} * ${line}`).join('\n')}\n${indent} */`;
}

function facts(schema: Schema): string[] {
  return schema.default === undefined ? [] : [`@default ${JSON.stringify(schema.default)}`];
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [''];
  for (const word of text.split(' ')) {
    const line = lines.at(-1) ?? '';
    if (line && line.length + 1 + word.length > width) lines.push(word);
    else lines[lines.length - 1] = line ? `${line} ${word}` : word;
  }
  return lines;
}

function pascal(key: string): string {
  return key.charAt(0).toUpperCase() + key.slice(1);
}

function singular(key: string): string {
  return key.endsWith('s') ? key.slice(0, -1) : key;
}
