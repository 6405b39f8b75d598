// SPDX-License-Identifier: Apache-2.0

/** What normalisation needs of a schema node: where values live, and what the API server does to them before validation. */
export interface Shape {
  properties?: Readonly<Record<string, Shape>>;
  /** Of a map with free keys: the shape of each value. */
  values?: Shape;
  items?: Shape;
  /** Anything may be below: members of metadata, which Kubernetes itself describes. */
  free?: true;
  /** Anything may be below, and stays as it is, nulls included: x-kubernetes-preserve-unknown-fields. */
  opaque?: true;
  default?: unknown;
  list?: 'set' | 'map';
  /** Of a list-map: the members that make an item's key. */
  keys?: readonly string[];
}

/** One CEL rule of a CRD, as the manifest gives it. */
export interface Rule {
  /** Path of the schema node that holds it; `[]` stands for each item of a list. */
  at: string;
  rule: string;
  message: string;
  /** Appended to the path of the value, as the API server does. */
  fieldPath?: string;
}
