// SPDX-License-Identifier: Apache-2.0
import { isDeepStrictEqual } from 'node:util';
import type { Problem } from './problems.ts';

interface Reached {
  readonly value: unknown;
  /** Steps of the path that led somewhere. */
  readonly depth: number;
}

const STEP = /([^.[\]]+)|\[(\d+)\]/g;

/**
 * The problems that an update is to answer for: those of fields that it changes. What was stored before a rule came must not keep its
 * owner from changing, deleting or finishing it (KEP-4008 does the same for schemas).
 */
export function ofChanges(problems: readonly Problem[], before: unknown, after: unknown): Problem[] {
  return problems.filter(({ path, dependsOn = [] }) => [path, ...dependsOn].some((at) => changed(at, before, after)));
}

/** A path that leads nowhere, because a member is missing or has a dot in its name, stands for the nearest object above it. */
function changed(path: string, before: unknown, after: unknown): boolean {
  const steps = [...path.matchAll(STEP)].map((match) => match[1] ?? match[2] ?? '');
  const [old, now] = [reach(before, steps), reach(after, steps)];
  return old.depth !== now.depth || !isDeepStrictEqual(old.value, now.value);
}

function reach(root: unknown, steps: readonly string[]): Reached {
  let value = root;
  for (const [depth, step] of steps.entries()) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, step)) return { value, depth };
    value = (value as Record<string, unknown>)[step];
  }
  return { value, depth: steps.length };
}
