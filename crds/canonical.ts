// SPDX-License-Identifier: Apache-2.0

/**
 * JSON with sorted keys, no white space, and members that are undefined or null left out: one text for one meaning,
 * whatever the order of keys in a manifest. Arrays keep their order.
 */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value ?? null);
  const members = Object.entries(value)
    .filter(([, member]) => member !== undefined && member !== null)
    // Code unit order, not locale order: the text must not depend on the machine.
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, member]) => `${JSON.stringify(key)}:${canonicalJson(member)}`);
  return `{${members.join(',')}}`;
}
