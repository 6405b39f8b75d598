// SPDX-License-Identifier: Apache-2.0
import { canonicalJson } from '#crds/canonical.ts';
import { isObject } from '#base/json.ts';
import type { Json } from '#base/json.ts';
import type { KubeObject } from './types.ts';

/** `fieldsV1` of managedFields: `f:<field>`, `k:<keys of a list item>`, `v:<value of a set>`, `.` for the node itself. */
interface FieldSet {
  readonly [path: string]: FieldSet;
}

interface ManagedFields {
  readonly manager?: string;
  readonly operation?: string;
  readonly subresource?: string;
  readonly fieldsV1?: FieldSet;
}

/**
 * Whether a server-side apply of `{[part]: desired}` by `manager` would change nothing: what it owns under `part` is what
 * `desired` names, with equal values. Members that are null or undefined count as not named.
 */
export function ownsExactly(observed: KubeObject, part: 'status' | 'spec', desired: Json, manager: string): boolean {
  const entries = (observed.metadata as { readonly managedFields?: readonly ManagedFields[] }).managedFields ?? [];
  const subresource = part === 'status' ? 'status' : '';
  const mine = entries.find(
    (entry) => entry.manager === manager && entry.operation === 'Apply' && (entry.subresource ?? '') === subresource,
  );
  const owned = mine?.fieldsV1?.[`f:${part}`];
  return owned !== undefined && same(desired, (observed as unknown as Record<string, Json>)[part], owned);
}

function same(desired: Json | undefined, observed: Json | undefined, owned: FieldSet): boolean {
  const paths = Object.keys(owned).filter((path) => path !== '.');
  // A leaf: a scalar, an atomic list or map, or an empty one. It is owned as a whole.
  if (paths.length === 0) return canonicalJson(desired) === canonicalJson(observed);
  if (paths.every((path) => path.startsWith('f:'))) return sameFields(desired, observed, owned, paths);
  if (paths.every((path) => path.startsWith('k:'))) return sameItems(desired, observed, owned, paths);
  if (paths.every((path) => path.startsWith('v:'))) return sameSet(desired, paths);
  return false;
}

function sameFields(
  desired: Json | undefined,
  observed: Json | undefined,
  owned: FieldSet,
  paths: readonly string[],
): boolean {
  if (!isObject(desired) || !isObject(observed)) return false;
  const named = Object.keys(desired).filter((name) => desired[name] !== undefined && desired[name] !== null);
  if (named.length !== paths.length) return false;
  return named.every((name) => {
    const below = owned[`f:${name}`];
    return below !== undefined && same(desired[name], observed[name], below);
  });
}

/** Items of a list-map are found by their keys, whatever their order. */
function sameItems(
  desired: Json | undefined,
  observed: Json | undefined,
  owned: FieldSet,
  paths: readonly string[],
): boolean {
  if (!Array.isArray(desired) || !Array.isArray(observed) || desired.length !== paths.length) return false;
  return paths.every((path) => {
    const keys = JSON.parse(path.slice(2)) as Record<string, Json>;
    const has = (item: Json): boolean =>
      isObject(item) && Object.entries(keys).every(([key, value]) => canonicalJson(item[key]) === canonicalJson(value));
    const below = owned[path];
    return below !== undefined && same((desired as Json[]).find(has), (observed as Json[]).find(has), below);
  });
}

function sameSet(desired: Json | undefined, paths: readonly string[]): boolean {
  if (!Array.isArray(desired) || desired.length !== paths.length) return false;
  const values = new Set(paths.map((path) => canonicalJson(JSON.parse(path.slice(2)))));
  return desired.every((value: Json) => values.has(canonicalJson(value)));
}
