// SPDX-License-Identifier: Apache-2.0
import { formatFieldError } from '#crds/field-error.ts';
import type { FieldError } from '#crds/field-error.ts';
import type { FieldCause, Refusal } from '../admission/types.ts';

/** Problems in one message; all of them are among the causes. */
const IN_MESSAGE = 8;
/** Causes of one refusal: an answer is small whatever was sent. */
const MAX_CAUSES = 64;

/** What is wrong with one field of an object. */
export interface Problem {
  /** `spec.worker.image` */
  readonly path: string;
  readonly message: string;
  readonly reason: FieldCause['reason'];
  /** Other fields that it comes from as well: a change of one of them is a change of this. */
  readonly dependsOn?: readonly string[];
}

export function invalid(error: FieldError): Problem {
  return { path: error.path, message: textOf(error), reason: 'FieldValueInvalid' };
}

export function forbidden(path: string, message: string, dependsOn: readonly string[] = []): Problem {
  return { path, message, reason: 'FieldValueForbidden', ...(dependsOn.length > 0 ? { dependsOn } : {}) };
}

/** @param what the object for people: `InferenceApp "ocr"` */
export function refusalOf(code: Refusal['code'], what: string, problems: readonly Problem[]): Refusal {
  const named = problems.slice(0, IN_MESSAGE).map(({ path, message }) => formatFieldError({ path, message }));
  const more = problems.length - named.length;
  const verb = code === 403 ? 'is forbidden' : 'is invalid';
  return {
    code,
    message: `${what} ${verb}: ${named.join('; ')}${more > 0 ? `; and ${more} more` : ''}`,
    causes: problems.slice(0, MAX_CAUSES).map(({ path, message, reason }) => ({ field: path, message, reason })),
  };
}

function textOf({ message, hint }: FieldError): string {
  return hint === undefined ? message : `${message} (${hint})`;
}
