// SPDX-License-Identifier: Apache-2.0
// The API server's verdict without an API server: for manifests read from files and for clear messages before an apply.
import type { ValidateFunction } from 'ajv';
import { duplicates } from './duplicates.ts';
import { isRecord } from './field-error.ts';
import type { FieldError } from './field-error.ts';
import { INFERENCE_APP_TWINS } from './inference-app-rules.ts';
import type { InferenceApp } from './inference-app.gen.ts';
import { metadataErrors } from './metadata.ts';
import { normalise } from './normalise.ts';
import { PLACEMENT_TWINS } from './placement-rules.ts';
import { podTemplateErrors } from './pod-template.ts';
import type { Placement } from './placement.gen.ts';
import { brokenRules } from './rules.ts';
import { blocksRules, schemaErrors } from './schema-errors.ts';
import type { Shape } from './shape.ts';
import { INFERENCE_APP_RULES, INFERENCE_APP_SHAPE, PLACEMENT_RULES, PLACEMENT_SHAPE } from './shapes.gen.ts';
import { unknownFields } from './unknown-fields.ts';
import { isInferenceApp, isPlacement } from './validators.gen.js';

/** A valid document with its defaults filled in, or every reason why it is not one. */
export type Verdict<T> = { ok: true; value: T } | { ok: false; errors: FieldError[] };

/** Characters that the API server appends to generateName, and the length to which it cuts the name before. */
const GENERATED_SUFFIX = '00000';
const MAX_GENERATED_BASE = 58;

interface Kind {
  shape: Shape;
  schema: ValidateFunction;
  rules: (doc: unknown, old: unknown) => FieldError[];
}

const INFERENCE_APP: Kind = {
  shape: INFERENCE_APP_SHAPE,
  schema: isInferenceApp,
  rules: (doc, old) => [...brokenRules(INFERENCE_APP_RULES, INFERENCE_APP_TWINS, doc, old), ...preserved(doc)],
};

const PLACEMENT: Kind = {
  shape: PLACEMENT_SHAPE,
  schema: isPlacement,
  rules: (doc, old) => brokenRules(PLACEMENT_RULES, PLACEMENT_TWINS, doc, old),
};

/** Verdict on a create, or with `old` (normalised) on an update of that object. A status in it is not looked into. */
export function validateInferenceApp(doc: unknown, old?: InferenceApp): Verdict<InferenceApp> {
  return validate<InferenceApp>(INFERENCE_APP, doc, old);
}

/** Verdict on a create, or with `old` (normalised) on an update of that object. A status in it is not looked into. */
export function validatePlacement(doc: unknown, old?: Placement): Verdict<Placement> {
  return validate<Placement>(PLACEMENT, doc, old);
}

/** What the API server preserves without looking into it; in a cluster the admission server refuses it by the same function. */
function preserved(doc: unknown): FieldError[] {
  const { podTemplate, archetype } = (doc as InferenceApp).spec.worker;
  return podTemplate === undefined ? [] : podTemplateErrors(podTemplate, archetype);
}

function validate<T>(kind: Kind, doc: unknown, old: unknown): Verdict<T> {
  if (!isRecord(doc)) return { ok: false, errors: [{ path: '', message: 'must be an object' }] };
  const value = normalise(kind.shape, withMetadata(doc));
  const errors = [...unknownFields(kind.shape, doc), ...validationErrors(kind, named(value), old)];
  return errors.length > 0 ? { ok: false, errors } : { ok: true, value: value as T };
}

function validationErrors(kind: Kind, value: unknown, old: unknown): FieldError[] {
  kind.schema(value);
  const schema = kind.schema.errors ?? [];
  return [
    ...schemaErrors(schema, value),
    ...metadataErrors(isRecord(value) ? value.metadata : undefined),
    ...duplicates(kind.shape, value),
    ...(blocksRules(schema) ? [] : kind.rules(value, old)),
  ];
}

/** As the API server decodes it: absent or null metadata is empty, a null label or annotation is the empty string. */
function withMetadata(doc: Record<string, unknown>): Record<string, unknown> {
  const metadata = doc.metadata ?? {};
  if (!isRecord(metadata)) return doc;
  const { labels, annotations } = metadata;
  return {
    ...doc,
    metadata: {
      ...metadata,
      ...(isRecord(labels) ? { labels: nullsAsEmpty(labels) } : {}),
      ...(isRecord(annotations) ? { annotations: nullsAsEmpty(annotations) } : {}),
    },
  };
}

function nullsAsEmpty(map: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(map).map(([key, value]) => [key, value ?? '']));
}

/** With generateName and no name, the name that is checked is one that the API server could make. */
function named(value: unknown): unknown {
  if (!isRecord(value) || !isRecord(value.metadata)) return value;
  const { name, generateName } = value.metadata;
  if (name !== undefined || typeof generateName !== 'string' || generateName === '') return value;
  const made = generateName.slice(0, MAX_GENERATED_BASE) + GENERATED_SUFFIX;
  return { ...value, metadata: { ...value.metadata, name: made } };
}
