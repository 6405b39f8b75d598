// SPDX-License-Identifier: Apache-2.0
import { Ajv } from 'ajv';
import type { ErrorObject, JSONSchemaType } from 'ajv';
import { parse } from 'yaml';
import { yamlLine } from '#base/yaml-line.ts';
import { isImageReference, parseImage } from './image-reference.ts';
import type { ImageReference } from './image-reference.ts';
import { IMAGES_SCHEMA } from './images.schema.ts';

interface ImagesDocument {
  readonly version: 1;
  readonly otherwise?: 'Allow' | 'Refuse';
  readonly rules: readonly { readonly namespaces: readonly string[]; readonly images: readonly string[] }[];
}

/** Which images the apps of a namespace may use. */
export interface ImagePolicy {
  /** Undefined: it may. Else the patterns that would do. */
  refusal(namespace: string, image: string): string | undefined;
}

const validate = new Ajv({ strict: true, strictTypes: false, verbose: true }).compile(
  IMAGES_SCHEMA as unknown as JSONSchemaType<ImagesDocument>,
);
/** Patterns that a refusal names. */
const NAMED = 5;

/**
 * Reads the text of images.yaml; undefined when there is no document in it.
 * @throws Error that names field and fix
 */
export function readImages(text: string): ImagePolicy | undefined {
  let value: unknown;
  try {
    value = parse(text, { prettyErrors: false });
  } catch (cause) {
    throw new Error(`document: is no YAML; mend ${yamlLine(text, cause)}: a mapping with version and rules`, { cause });
  }
  if (value === null || value === undefined) return undefined;
  if (!validate(value)) throw new Error(describe(validate.errors?.[0]));
  const rules = value.rules.map(({ namespaces, images }, index) => ({
    namespaces: namespaces.map((text, i) => glob(text, `rules[${index}].namespaces[${i}]`)),
    patterns: images.map((image, i) => pattern(image, `rules[${index}].images[${i}]`)),
    images,
  }));
  const refuseOthers = value.otherwise === 'Refuse';
  return {
    refusal: (namespace, image) => {
      const about = rules.filter((rule) => rule.namespaces.some((matches) => matches(namespace)));
      if (about.length === 0) return refuseOthers ? 'no image is allowed in this namespace' : undefined;
      // Runtimes read such a thing in a way of their own, or as the id of an image that another team pulled.
      if (!isImageReference(image)) return 'it is no name of an image in a registry';
      const reference = parseImage(image);
      if (about.some((rule) => rule.patterns.some((matches) => matches(reference)))) return undefined;
      const all = about.flatMap((rule) => rule.images);
      const more = all.length > NAMED ? ` and ${all.length - NAMED} more` : '';
      return `allowed are ${all.slice(0, NAMED).join(', ')}${more}`;
    },
  };
}

type Matches<T> = (value: T) => boolean;

function pattern(text: string, field: string): Matches<ImageReference> {
  const wanted = parseImage(text);
  const deep = wanted.parts.at(-1) === '**';
  const parts = (deep ? wanted.parts.slice(0, -1) : wanted.parts).map((part) => glob(part, field));
  const tag = wanted.tag === undefined ? undefined : glob(wanted.tag, field);
  return (image) => {
    if (deep ? image.parts.length <= parts.length : image.parts.length !== parts.length) return false;
    if (!parts.every((matches, index) => matches(image.parts[index] ?? ''))) return false;
    if (wanted.digest !== undefined) return image.digest === wanted.digest;
    // Beside a digest a tag is only a comment: runtimes go by the digest.
    return tag === undefined || (image.digest === undefined && tag(image.tag ?? 'latest'));
  };
}

/** One `*` in a part: matched without a regular expression, so in time that nobody can make long. */
function glob(text: string, field: string): Matches<string> {
  const [head = '', tail, ...more] = text.split('*');
  if (more.length > 0) throw new Error(`${field}: ${text} has more than one * in a part; write one, or /** at the end`);
  if (tail === undefined) return (value) => value === text;
  return (value) => value.length >= head.length + tail.length && value.startsWith(head) && value.endsWith(tail);
}

function describe(error: ErrorObject | undefined): string {
  const path = (error?.instancePath ?? '')
    .slice(1)
    .replaceAll(/\/(\d+)(?=\/|$)/g, '[$1]')
    .replaceAll('/', '.');
  const { parentSchema = {}, params = {}, keyword, message = 'is not valid' } = error ?? {};
  const described: unknown = parentSchema['description'];
  const fix = typeof described === 'string' ? described : 'see docs/operations.md';
  const known = Object.keys((parentSchema['properties'] ?? {}) as object).join(', ');
  if (keyword === 'additionalProperties') {
    return `${path || 'document'}: unknown field ${String(params['additionalProperty'])}; known are ${known}`;
  }
  return `${path || 'document'}: ${message}; ${fix}`;
}
