// SPDX-License-Identifier: Apache-2.0
import { canonicalJson } from './canonical.ts';
import { echo, element, isRecord, member } from './field-error.ts';
import type { FieldError } from './field-error.ts';
import type { Shape } from './shape.ts';

/** Second and later items of a set, or of a list-map with the same key, which the API server refuses. */
export function duplicates(shape: Shape, value: unknown, path = ''): FieldError[] {
  if (Array.isArray(value)) return [...ownDuplicates(shape, value, path), ...inItems(shape, value, path)];
  if (!isRecord(value)) return [];
  return Object.entries(value).flatMap(([key, sub]) => {
    const known = shape.properties && Object.hasOwn(shape.properties, key) ? shape.properties[key] : undefined;
    return known ? duplicates(known, sub, member(path, key)) : [];
  });
}

function inItems(shape: Shape, list: readonly unknown[], path: string): FieldError[] {
  const { items } = shape;
  return items ? list.flatMap((item, index) => duplicates(items, item, element(path, index))) : [];
}

function ownDuplicates(shape: Shape, list: readonly unknown[], path: string): FieldError[] {
  if (!shape.list) return [];
  const seen = new Set<string>();
  return list.flatMap((item, index) => {
    const key = keyOf(shape, item);
    const text = canonicalJson(key);
    if (!seen.has(text)) {
      seen.add(text);
      return [];
    }
    return [{ path: element(path, index), message: `must not repeat ${echo(key)}` }];
  });
}

function keyOf(shape: Shape, item: unknown): unknown {
  if (!shape.keys || !isRecord(item)) return item;
  return Object.fromEntries(shape.keys.map((key) => [key, item[key]]));
}
