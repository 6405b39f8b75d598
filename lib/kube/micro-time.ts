// SPDX-License-Identifier: Apache-2.0

/** metav1.MicroTime of Unix milliseconds: exactly six decimals, or the API server answers 400. */
export function microTime(ms: number): string {
  return new Date(ms).toISOString().replace('Z', '000Z');
}
