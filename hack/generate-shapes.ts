// SPDX-License-Identifier: Apache-2.0
import type { Crd, Schema } from './generate-schema.ts';
import { metadataShape } from './generate-object-meta.ts';
import { constantName } from './generate-schema.ts';

/** TypeScript source with, per kind, the shape that normalisation walks and the CEL rules that pure functions mirror. */
export function emitShapes(crds: readonly Crd[], head: string): string {
  const parts = crds.flatMap((crd) => {
    const name = constantName(crd.kind);
    return [
      `/** Shape of ${crd.kind}. */\nexport const ${name}_SHAPE: Shape = ${print(rootShape(crd.schema))};`,
      `/** CEL rules of ${crd.kind}. */\nexport const ${name}_RULES = ${print(rulesOf(crd.schema, ''))} as const satisfies readonly Rule[];`,
    ];
  });
  return `${head}import type { Rule, Shape } from './shape.ts';\n\n${parts.join('\n\n')}\n`;
}

function print(value: unknown): string {
  return JSON.stringify(value, null, 2);
}

/** Shape of a whole object: metadata gets the members that every Kubernetes object has. */
function rootShape(schema: Schema): object {
  return shapeOf(schema, { metadata: metadataShape() });
}

function shapeOf(schema: Schema, fixed: Record<string, object> = {}): object {
  const list = schema['x-kubernetes-list-type'];
  const properties = Object.entries(schema.properties ?? {}).map(
    ([key, sub]) => [key, fixed[key] ?? shapeOf(sub)] as const,
  );
  return {
    ...(schema.properties ? { properties: Object.fromEntries(properties) } : {}),
    ...(schema.additionalProperties ? { values: shapeOf(schema.additionalProperties) } : {}),
    ...(schema.items ? { items: shapeOf(schema.items) } : {}),
    ...(schema['x-kubernetes-preserve-unknown-fields'] ? { opaque: true } : {}),
    ...(schema.default === undefined ? {} : { default: schema.default }),
    ...(list === undefined || list === 'atomic' ? {} : { list }),
    ...(schema['x-kubernetes-list-map-keys'] ? { keys: schema['x-kubernetes-list-map-keys'] } : {}),
  };
}

/** Rules in the order of the manifest, parents before children. */
export function rulesOf(schema: Schema, at: string): object[] {
  const own = (schema['x-kubernetes-validations'] ?? []).map(({ rule, message, fieldPath }) => {
    if (!message) throw new Error(`${at || 'root'}: rule ${rule} needs a message`);
    return { at, rule, message, ...(fieldPath ? { fieldPath } : {}) };
  });
  const below = Object.entries(schema.properties ?? {}).flatMap(([key, sub]) =>
    rulesOf(sub, at === '' ? key : `${at}.${key}`),
  );
  const items = schema.items ? rulesOf(schema.items, `${at}[]`) : [];
  return [...own, ...below, ...items];
}
