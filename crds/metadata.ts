// SPDX-License-Identifier: Apache-2.0
import { echo, isRecord } from './field-error.ts';
import type { FieldError } from './field-error.ts';

// Kubernetes' qualified name: an optional DNS subdomain of at most 253 characters, a slash, a name of at most 63.
const NAME_PART = /^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$/;
const PREFIX_PART = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const MAX_NAME_PART = 63;
const MAX_PREFIX_PART = 253;
const MAX_LABEL_VALUE = 63;
/** Keys and values of all annotations together, as the API server counts them. */
const MAX_ANNOTATIONS_BYTES = 256 * 1024;

/**
 * Syntax of labels, annotations and finalizers, which the API server checks outside of any CRD. Members of another type than string
 * are the schema's to report.
 */
export function metadataErrors(metadata: unknown): FieldError[] {
  if (!isRecord(metadata)) return [];
  return [
    ...labelErrors(texts(metadata.labels)),
    ...annotationErrors(texts(metadata.annotations)),
    ...finalizerErrors(metadata.finalizers),
  ];
}

function finalizerErrors(finalizers: unknown): FieldError[] {
  if (!Array.isArray(finalizers)) return [];
  return finalizers
    .filter((name): name is string => typeof name === 'string' && !isQualifiedName(name))
    .map((name) => badName('metadata.finalizers', name));
}

function texts(map: unknown): [string, string][] {
  if (!isRecord(map)) return [];
  return Object.entries(map).filter((entry): entry is [string, string] => typeof entry[1] === 'string');
}

function labelErrors(labels: readonly [string, string][]): FieldError[] {
  return labels.flatMap(([key, value]) => [
    ...(isQualifiedName(key) ? [] : [badName('metadata.labels', key)]),
    ...(value === '' || (value.length <= MAX_LABEL_VALUE && NAME_PART.test(value))
      ? []
      : [
          {
            path: 'metadata.labels',
            message: `value ${echo(value)} of ${echo(key)} must be a label value of at most 63 letters, digits, -, _ and .`,
          },
        ]),
  ]);
}

function annotationErrors(annotations: readonly [string, string][]): FieldError[] {
  // The server lower-cases the key before it checks it, so Upper.Case/prefixes pass here but not on labels.
  const names = annotations
    .filter(([key]) => !isQualifiedName(key.toLowerCase()))
    .map(([key]) => badName('metadata.annotations', key));
  const bytes = annotations.reduce((sum, [key, value]) => sum + Buffer.byteLength(key) + Buffer.byteLength(value), 0);
  if (bytes <= MAX_ANNOTATIONS_BYTES) return names;
  return [
    ...names,
    { path: 'metadata.annotations', message: `must hold at most ${MAX_ANNOTATIONS_BYTES} bytes in all` },
  ];
}

function badName(path: string, key: string): FieldError {
  return { path, message: `${echo(key)} must be a name such as example.com/team: letters, digits, -, _ and .` };
}

function isQualifiedName(key: string): boolean {
  const parts = key.split('/');
  const name = parts.at(-1) ?? '';
  if (parts.length > 2 || name.length > MAX_NAME_PART || !NAME_PART.test(name)) return false;
  const prefix = parts.length === 2 ? (parts[0] ?? '') : undefined;
  return prefix === undefined || (prefix.length <= MAX_PREFIX_PART && PREFIX_PART.test(prefix));
}
