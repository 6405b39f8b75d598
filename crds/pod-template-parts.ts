// SPDX-License-Identifier: Apache-2.0
// What the checks of a pod template have in common.
import { nearest } from './did-you-mean.ts';
import { echo, element, isRecord, member } from './field-error.ts';
import type { FieldError } from './field-error.ts';

/** Members outside of a list of known ones; null counts as absent, as everywhere in Kubernetes. */
export function unknownMembers(
  value: Readonly<Record<string, unknown>>,
  known: readonly string[],
  path: string,
): FieldError[] {
  return Object.keys(value)
    .filter((key) => !known.includes(key) && value[key] !== null)
    .map((key) => {
      const near = nearest(key, known);
      const hint = near === undefined ? {} : { hint: `did you mean ${member(path, near)}?` };
      return { path: member(path, key), message: 'is not a field that may be set here', ...hint };
    });
}

/** Extended resources that are GPUs and their like: by who makes them, or by what they are called. */
const ACCELERATORS: readonly RegExp[] = [
  /^(?:[^/]*\.)?(?:nvidia\.com|amd\.com|gpu\.intel\.com|habana\.ai|huawei\.com|cambricon\.com)\//i,
  /\/(?:[^/]*[^a-z/])?(?:[a-z]?gpu|tpu|npu|xpu|mlu|dcu|neuron|gaudi|ascend|vcuda)/i,
];

/** GPUs are asked for in one place only, or nobody could tell what a unit takes. */
export function gpuErrors(resources: unknown, path: string): FieldError[] {
  if (!isRecord(resources)) return [];
  return ['limits', 'requests'].flatMap((list) => {
    const entries = resources[list];
    if (!isRecord(entries)) return [];
    return Object.keys(entries)
      .filter((name) => ACCELERATORS.some((accelerator) => accelerator.test(name)))
      .map((name) => ({
        path: member(path, list),
        message: `${echo(name)} may not be specified: GPUs are asked for by spec.resources.gpu`,
      }));
  });
}

/** Each item of a list with its path; what is no list, or no object, is an error. */
export function itemsOf(
  value: unknown,
  path: string,
): { items: { item: Readonly<Record<string, unknown>>; path: string }[]; errors: FieldError[] } {
  if (value === undefined || value === null) return { items: [], errors: [] };
  if (!Array.isArray(value)) return { items: [], errors: [{ path, message: 'must be a list' }] };
  const items: { item: Readonly<Record<string, unknown>>; path: string }[] = [];
  const errors: FieldError[] = [];
  value.forEach((item: unknown, index) => {
    if (isRecord(item)) items.push({ item, path: element(path, index) });
    else errors.push({ path: element(path, index), message: 'must be an object' });
  });
  return { items, errors };
}
