// SPDX-License-Identifier: Apache-2.0
import { nearest } from './did-you-mean.ts';
import { element, isRecord, member } from './field-error.ts';
import type { FieldError } from './field-error.ts';
import type { Shape } from './shape.ts';

/** Most unknown fields that are reported; a document of nothing else is no use to list. */
const MAX_REPORTED = 32;

/** Shape of a scalar, and of everything below one: no member is known. */
const SCALAR: Shape = {};

/**
 * Members that the schema does not know, each with the name that was probably meant. As in the API server's strict
 * decoding, an object where the schema wants a scalar or a list has unknown members, too.
 */
export function unknownFields(root: Shape, doc: unknown): FieldError[] {
  const errors: FieldError[] = [];
  const visit = (shape: Shape, value: unknown, path: string): void => {
    if (shape.free || shape.opaque || errors.length >= MAX_REPORTED) return;
    if (Array.isArray(value)) value.forEach((item, index) => visit(shape.items ?? SCALAR, item, element(path, index)));
    else if (isRecord(value)) {
      const { properties = {}, values } = shape;
      for (const [key, sub] of Object.entries(value)) {
        const known = Object.hasOwn(properties, key) ? properties[key] : values;
        if (known) visit(known, sub, member(path, key));
        else errors.push(unknown(root, properties, path, key));
      }
    }
  };
  visit(root, doc, '');
  return errors.slice(0, MAX_REPORTED);
}

function unknown(root: Shape, siblings: Readonly<Record<string, Shape>>, path: string, key: string): FieldError {
  const here = member(path, key);
  const elsewhere = placesOf(root, key, '');
  const near = nearest(key, Object.keys(siblings));
  // The right name in the wrong place is a commoner slip than a typing error that happens to be a word.
  const meant = elsewhere.length === 1 ? elsewhere[0] : near && member(path, near);
  return { path: here, message: 'is not a known field', ...(meant ? { hint: `did you mean ${meant}?` } : {}) };
}

/** Paths in spec at which the schema does have a member of this name. */
function placesOf(shape: Shape, key: string, path: string): string[] {
  return Object.entries(shape.properties ?? {}).flatMap(([name, sub]) => {
    const here = member(path, name);
    if (path === '' && name !== 'spec') return [];
    return [...(name === key ? [here] : []), ...placesOf(sub, key, here)];
  });
}
