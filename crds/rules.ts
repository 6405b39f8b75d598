// SPDX-License-Identifier: Apache-2.0
import { element, isRecord, member } from './field-error.ts';
import type { FieldError } from './field-error.ts';
import type { Rule } from './shape.ts';

/** Pure-function twin of a CEL rule. `oldSelf` is undefined on a create and wherever CEL finds no old value. */
export type Twin = (self: unknown, oldSelf: unknown) => boolean;

/** A twin that sees its value with the type that the schema has already proved. */
export function twin<T>(holds: (self: T, oldSelf: T | undefined) => boolean): Twin {
  return (self, oldSelf) => holds(self as T, oldSelf as T | undefined);
}

interface Selected {
  path: string;
  self: unknown;
  oldSelf: unknown;
}

/** The rules that a document breaks. Call it only on a document whose types, enums and lengths are right, as CEL is. */
export function brokenRules<R extends Rule>(
  rules: readonly R[],
  twins: Readonly<Record<R['rule'], Twin>>,
  doc: unknown,
  old: unknown,
): FieldError[] {
  return rules.flatMap((rule: R) => {
    const text: R['rule'] = rule.rule;
    return select(rule.at, { path: '', self: doc, oldSelf: old })
      .filter(({ self, oldSelf }) => !twins[text](self, oldSelf))
      .map(({ path }) => ({ path: path + (rule.fieldPath ?? ''), message: rule.message }));
  });
}

/** Values at `spec.worker.env[]`: every item of a list; nothing where a member is absent. */
function select(at: string, root: Selected): Selected[] {
  let found = [root];
  for (const step of at === '' ? [] : at.split('.')) {
    const key = step.replaceAll('[]', '');
    found = found.flatMap((value) => below(value, key));
    if (step.endsWith('[]')) found = found.flatMap(items);
  }
  return found;
}

function below({ path, self, oldSelf }: Selected, key: string): Selected[] {
  if (!isRecord(self) || self[key] === undefined) return [];
  return [{ path: member(path, key), self: self[key], oldSelf: isRecord(oldSelf) ? oldSelf[key] : undefined }];
}

/** Items have no old value here: the CRDs hold no transition rule below a list (a test checks that). */
function items({ path, self }: Selected): Selected[] {
  if (!Array.isArray(self)) return [];
  return self.map((item, index) => ({ path: element(path, index), self: item, oldSelf: undefined }));
}
