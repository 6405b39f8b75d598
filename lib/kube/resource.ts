// SPDX-License-Identifier: Apache-2.0
import { GROUP, RESOURCES, VERSION } from '#crds/names.ts';

/** A kind of object and where the API serves it. */
export interface Resource {
  /** '' for the core group. */
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly plural: string;
  readonly namespaced: boolean;
}

const own = (entry: { kind: string; plural: string; namespaced: boolean }): Resource => ({
  group: GROUP,
  version: VERSION,
  ...entry,
});
const namespaced = (group: string, kind: string, plural: string): Resource => ({
  group,
  version: 'v1',
  kind,
  plural,
  namespaced: true,
});

const cluster = (group: string, kind: string, plural: string): Resource => ({
  ...namespaced(group, kind, plural),
  namespaced: false,
});

export const INFERENCE_APPS = own(RESOURCES.inferenceApp);
export const PLACEMENTS = own(RESOURCES.placement);
export const JOBS = namespaced('batch', 'Job', 'jobs');
export const PODS = namespaced('', 'Pod', 'pods');
export const SECRETS = namespaced('', 'Secret', 'secrets');
export const CONFIG_MAPS = namespaced('', 'ConfigMap', 'configmaps');
export const LEASES = namespaced('coordination.k8s.io', 'Lease', 'leases');
export const NODES = cluster('', 'Node', 'nodes');
export const NAMESPACES = cluster('', 'Namespace', 'namespaces');
export const EVENTS = namespaced('events.k8s.io', 'Event', 'events');

/** `apiVersion` of the resource's objects. */
export function apiVersionOf(resource: Resource): string {
  return resource.group === '' ? resource.version : `${resource.group}/${resource.version}`;
}

/** `plural.group`, the resource's name in metrics and logs. */
export function resourceName(resource: Resource): string {
  return resource.group === '' ? resource.plural : `${resource.plural}.${resource.group}`;
}

export interface PathParts {
  readonly namespace?: string | undefined;
  readonly name?: string | undefined;
  readonly subresource?: string | undefined;
}

/**
 * URL path of a collection (no name) or an object. Names come from users, so each becomes exactly one path segment.
 * @throws TypeError when an object of a namespaced resource is named without its namespace, or a segment cannot be one
 */
export function resourcePath(resource: Resource, parts: PathParts = {}): string {
  const { namespace, name, subresource } = parts;
  if (resource.namespaced && name !== undefined && !namespace) {
    throw new TypeError(`${resource.kind} "${name}": metadata.namespace is required`);
  }
  const root = resource.group === '' ? `/api/${resource.version}` : `/apis/${resource.group}/${resource.version}`;
  const segments: string[] = [];
  if (resource.namespaced && namespace) segments.push('namespaces', segment(namespace));
  segments.push(resource.plural);
  if (name !== undefined) segments.push(segment(name));
  if (subresource !== undefined) segments.push(segment(subresource));
  return `${root}/${segments.join('/')}`;
}

function segment(text: string): string {
  // `.` and `..` would be folded away by URL parsers, an empty one would address the collection.
  if (text === '' || text === '.' || text === '..')
    throw new TypeError(`"${text}" cannot be a name in a Kubernetes path`);
  return encodeURIComponent(text);
}
