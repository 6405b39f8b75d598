// SPDX-License-Identifier: Apache-2.0

/** Freezes a JSON value all the way down, so that a shared object cannot be changed by one of its readers. */
export function deepFreeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value;
  for (const member of Object.values(value)) deepFreeze(member);
  return Object.freeze(value);
}
