// SPDX-License-Identifier: Apache-2.0
import { hash } from 'node:crypto';
import { requestSchemaFault } from '#crds/request-schema.ts';
import { plainCheck } from './plain-schema.ts';
import type { PlainCheck } from './plain-schema.ts';

type RequestSchema = Readonly<Record<string, unknown>>;

/** A request schema as the validator threads know it: equal schemas are one, however often their app is read anew. */
export interface SchemaRef {
  readonly id: string;
  /** JSON. */
  readonly source: string;
  /** Why it cannot be used, as far as that shows without compiling it. */
  readonly fault?: string;
  /** For one whose bodies may be checked without a thread. */
  readonly plain?: PlainCheck;
}

/** Reads a schema once per object of the app source: this is asked on every request. */
export function createSchemaRefs(): (schema: RequestSchema) => SchemaRef {
  const refs = new WeakMap<RequestSchema, SchemaRef>();
  return (schema) => {
    const known = refs.get(schema);
    if (known !== undefined) return known;
    const fault = requestSchemaFault(schema);
    const source = fault === undefined ? JSON.stringify(schema) : '';
    const plain = fault === undefined ? plainCheck(schema) : undefined;
    const ref: SchemaRef = {
      id: hash('sha256', source),
      source,
      ...(fault === undefined ? {} : { fault }),
      ...(plain === undefined ? {} : { plain }),
    };
    refs.set(schema, ref);
    return ref;
  };
}
