// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { parse } from 'yaml';

/** One CEL rule of a schema node. */
export interface CelRule {
  rule: string;
  message?: string;
  fieldPath?: string;
  reason?: string;
}

/** A node of a structural schema: no `$ref`, no type unions, so a plain walk is enough. */
export interface Schema {
  type?: 'object' | 'array' | 'string' | 'integer' | 'boolean' | 'number';
  description?: string;
  properties?: Record<string, Schema>;
  additionalProperties?: Schema;
  items?: Schema;
  required?: string[];
  enum?: string[];
  default?: unknown;
  format?: string;
  pattern?: string;
  minLength?: number;
  maxLength?: number;
  minimum?: number;
  maximum?: number;
  minItems?: number;
  maxItems?: number;
  maxProperties?: number;
  nullable?: boolean;
  'x-kubernetes-int-or-string'?: boolean;
  'x-kubernetes-preserve-unknown-fields'?: boolean;
  'x-kubernetes-list-type'?: 'atomic' | 'set' | 'map';
  'x-kubernetes-list-map-keys'?: string[];
  'x-kubernetes-validations'?: CelRule[];
}

export interface PrinterColumn {
  name: string;
  type: string;
  jsonPath: string;
  priority?: number;
  description: string;
}

/** What the emitters need of one CustomResourceDefinition. */
export interface Crd {
  file: string;
  group: string;
  kind: string;
  plural: string;
  shortNames: string[];
  categories: string[];
  scope: 'Namespaced' | 'Cluster';
  version: string;
  columns: PrinterColumn[];
  scale?: { specReplicasPath: string; statusReplicasPath: string; labelSelectorPath: string };
  schema: Schema;
}

interface CrdVersion {
  name: string;
  schema: { openAPIV3Schema: Schema };
  additionalPrinterColumns: PrinterColumn[];
  subresources: { scale?: NonNullable<Crd['scale']> };
}

interface CrdManifest {
  spec: {
    group: string;
    scope: Crd['scope'];
    names: { kind: string; plural: string; shortNames: string[]; categories: string[] };
    versions: CrdVersion[];
  };
}

/** The CRD manifests in the order in which everything generated lists them. */
export const CRD_FILES = ['crds/penstock.dev_inferenceapps.yaml', 'crds/penstock.dev_placements.yaml'] as const;

export function loadCrd(root: URL, file: string): Crd {
  const { spec } = parse(readFileSync(new URL(file, root), 'utf8')) as CrdManifest;
  const version = spec.versions[0];
  if (!version || spec.versions.length !== 1) throw new Error(`${file}: must hold exactly one version`);
  const { kind, plural, shortNames, categories } = spec.names;
  return {
    file,
    group: spec.group,
    kind,
    plural,
    shortNames,
    categories,
    scope: spec.scope,
    version: version.name,
    columns: version.additionalPrinterColumns,
    ...(version.subresources.scale ? { scale: version.subresources.scale } : {}),
    schema: version.schema.openAPIV3Schema,
  };
}

/** `InferenceApp` → `inference-app`: the file name of a kind. */
export function fileName(kind: string): string {
  return kind.replaceAll(/(?<=[a-z])(?=[A-Z])/g, '-').toLowerCase();
}

/** `InferenceApp` → `INFERENCE_APP`. */
export function constantName(kind: string): string {
  return fileName(kind).replaceAll('-', '_').toUpperCase();
}
