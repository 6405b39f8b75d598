// SPDX-License-Identifier: Apache-2.0

export type Labels = Readonly<Record<string, string>>;

export interface LabelRequirement {
  readonly key: string;
  readonly operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist';
  readonly values?: readonly string[];
}

/** metav1.LabelSelector. */
export interface LabelSelector {
  readonly matchLabels?: Labels;
  readonly matchExpressions?: readonly LabelRequirement[];
}

export type LabelMatcher = (labels: Labels) => boolean;

const OPERATORS: Readonly<
  Record<LabelRequirement['operator'], (values: ReadonlySet<string>) => (value?: string) => boolean>
> = {
  In: (values) => (value) => value !== undefined && values.has(value),
  // As in Kubernetes: what has no such label is not in the list either.
  NotIn: (values) => (value) => value === undefined || !values.has(value),
  Exists: () => (value) => value !== undefined,
  DoesNotExist: () => (value) => value === undefined,
};

/** Undefined: there is nothing to check, everything matches. */
export function compileSelector(selector: LabelSelector | undefined): LabelMatcher | undefined {
  const exact = Object.entries(selector?.matchLabels ?? {});
  const tests = (selector?.matchExpressions ?? []).map(({ key, operator, values }) => ({
    key,
    test: OPERATORS[operator](new Set(values)),
  }));
  if (exact.length + tests.length === 0) return undefined;
  return (labels) =>
    exact.every(([key, value]) => own(labels, key) === value) && tests.every(({ key, test }) => test(own(labels, key)));
}

/** Labels come from users: `constructor` is a possible key, and not one of every object. */
function own(labels: Labels, key: string): string | undefined {
  return Object.hasOwn(labels, key) ? labels[key] : undefined;
}
