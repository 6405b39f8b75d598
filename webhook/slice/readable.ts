// SPDX-License-Identifier: Apache-2.0
import type { Pod } from './pod.ts';

/** RFC 1123 label: names of containers and of volumes. */
const LABEL = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;
/** RFC 1123 subdomain, or the beginning of one: name and generateName of a pod. */
const SUBDOMAIN = /^[a-z0-9]([-.a-z0-9]{0,252})$/;

/**
 * Whether the pod is one as its API server's types have it, with names as it would accept them: it looks at those only after admission,
 * and others than API servers may send anything. Names stand in Events, annotations and the log, so none brings a text of its own.
 */
export function isReadable({ metadata, spec }: Pod): boolean {
  if (typeof metadata !== 'object' || metadata === null) return false;
  const { containers, initContainers = [], volumes = [] } = spec ?? {};
  const lists: unknown[] = [containers, initContainers, volumes];
  if (!lists.every((list) => Array.isArray(list))) return false;
  const { name, generateName } = metadata;
  return isAbsentOr(SUBDOMAIN, name) && isAbsentOr(SUBDOMAIN, generateName) && lists.flat().every(isNamed);
}

function isNamed(one: unknown): boolean {
  return typeof one === 'object' && one !== null && 'name' in one && isA(LABEL, one.name);
}

function isAbsentOr(form: RegExp, name: unknown): boolean {
  return name === undefined || name === null || name === '' || isA(form, name);
}

function isA(form: RegExp, name: unknown): boolean {
  return typeof name === 'string' && form.test(name);
}
