// SPDX-License-Identifier: Apache-2.0
import { isRecord } from './field-error.ts';
import type { Shape } from './shape.ts';

/**
 * The document as the API server would store it: a null member counts as absent (no field is nullable), absent members
 * with a default get it, at every level and within defaults. Nulls in lists stay, as they do there, and fail their type.
 * Order matters and is the server's: nulls first, so that null on a defaulted field gives the default. Never changes
 * its argument; unknown members are kept as they are, for unknownFields to report.
 */
export function normalise(shape: Shape, value: unknown): unknown {
  if (shape.opaque) return value;
  if (Array.isArray(value)) {
    const { items } = shape;
    return items ? value.map((item) => normalise(items, item)) : value;
  }
  if (!isRecord(value)) return value;
  const members: [string, unknown][] = Object.entries(value)
    .filter(([, sub]) => sub !== null && sub !== undefined)
    .map(([key, sub]) => [key, normalise(shapeOf(shape, key), sub)]);
  const given = new Set(members.map(([key]) => key));
  for (const [key, sub] of Object.entries(shape.properties ?? {})) {
    if (sub.default !== undefined && !given.has(key)) members.push([key, normalise(sub, structuredClone(sub.default))]);
  }
  // fromEntries defines own members, so a member called __proto__ stays data.
  return Object.fromEntries(members);
}

const FREE: Shape = {};

function shapeOf(shape: Shape, key: string): Shape {
  const { properties, values } = shape;
  return (properties && Object.hasOwn(properties, key) ? properties[key] : values) ?? FREE;
}
