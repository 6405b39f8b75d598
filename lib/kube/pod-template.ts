// SPDX-License-Identifier: Apache-2.0
import { NOT_IN_ADAPTER } from '#crds/pod-template-containers.ts';
import { harmlessPart } from '#crds/pod-template-security.ts';
import { sealedVolumes } from '#crds/pod-template-volumes.ts';
import { isUnconfined } from '#crds/pod-template.ts';
import { isObject } from '#base/json.ts';

type Json = Readonly<Record<string, unknown>>;
type Container = Json & { readonly name: string };

/** What we say of a pod ourselves, in Kubernetes' shape. */
export interface OwnPod {
  readonly metadata: { readonly labels?: Record<string, string>; readonly annotations?: Record<string, string> };
  readonly spec: {
    readonly securityContext: Json;
    readonly initContainers?: readonly object[];
    readonly containers: readonly object[];
    readonly volumes: readonly object[];
  };
}

/** Of every container: PodSecurity `restricted`. */
export const LOCKED_DOWN = { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } };

/** Ours where a template names neither. */
const OVERRIDABLE = ['automountServiceAccountToken', 'enableServiceLinks'];
/**
 * Of a pod and of a container, never taken from a template. The checks of a template refuse them first (crds/pod-template.ts); this
 * is for what was stored where nobody checked.
 */
const NEVER_IN_POD = [
  'hostNetwork',
  'hostPID',
  'hostIPC',
  'shareProcessNamespace',
  'activeDeadlineSeconds',
  'readinessGates',
  'ephemeralContainers',
  'serviceAccount',
  'priority',
  'overhead',
  'nodeName',
  'tolerations',
  'runtimeClassName',
];
const NEVER_IN_OWN_CONTAINER = [
  'image',
  'command',
  'args',
  'env',
  'envFrom',
  'restartPolicy',
  'restartPolicyRules',
  'livenessProbe',
  'readinessProbe',
  'startupProbe',
];
const HOST_OF_PORT = ['hostPort', 'hostIP'];
/** Members in which the kubelet is told whom to ask. */
const ASKING = ['lifecycle', 'livenessProbe', 'readinessProbe', 'startupProbe'];

interface MergeOptions {
  /** The worker is our adapter: nothing of a template runs or lies beside its token. */
  readonly adapter: boolean;
}

/**
 * A pod of ours with a user's template under it: maps are merged and lists of named things joined by name, as in a strategic merge;
 * what we say wins, and what we say of security is only added to. The template's items come first in every list, in their order, so that a
 * path of the API server's into the result is the same path in the template. Without a template the pod is returned as it is.
 */
export function underTemplate<T extends OwnPod>(own: T, template: Json | undefined, { adapter }: MergeOptions): T {
  const given = template === undefined ? {} : record(withoutNulls(template));
  if (Object.keys(given).length === 0) return own;
  const metadata = confined(record(given['metadata']));
  return {
    ...own,
    metadata: {
      ...own.metadata,
      ...merged('labels', metadata, own.metadata),
      ...merged('annotations', metadata, own.metadata),
    },
    spec: mergeSpec(own.spec, record(given['spec']), adapter),
  };
}

function mergeSpec(own: OwnPod['spec'] & Json, given: Json, adapter: boolean): OwnPod['spec'] {
  const spec: Json = { ...without(given, NEVER_IN_POD), ...own };
  const chosen = OVERRIDABLE.filter((key) => given[key] !== undefined).map((key) => [key, given[key]]);
  const affinity = { ...without(record(given['affinity']), ['nodeAffinity']), ...record(own['affinity']) };
  return {
    ...spec,
    ...Object.fromEntries(chosen),
    ...merged('nodeSelector', given, own),
    ...(Object.keys(affinity).length > 0 ? { affinity } : {}),
    securityContext: secure(harmlessPart(record(given['securityContext']), 'pod'), own.securityContext),
    ...mergeInitContainers(own.initContainers ?? [], containersOf(given['initContainers'], adapter)),
    containers: own.containers.map((container) =>
      patched(container, containersOf(given['containers'], adapter), adapter ? NOT_IN_ADAPTER : []),
    ),
    volumes: [
      ...othersThan(own.volumes, named(given['volumes'])).filter((v) => v['hostPath'] === undefined),
      ...own.volumes,
    ],
  };
}

/** In the template's order, ours at its place there, else last: what is to run before the model server is named before it. */
function mergeInitContainers(own: readonly object[], given: readonly Container[]): { initContainers?: object[] } {
  const ours = own as readonly Container[];
  const inOrder = given.map((item) => {
    const mine = ours.find(({ name }) => name === item.name);
    const securityContext = secure(containerSecurity(item), LOCKED_DOWN);
    return mine === undefined ? { ...item, securityContext } : patched(mine, [item], []);
  });
  const rest = ours.filter(({ name }) => !given.some((item) => item.name === name));
  const all = [...inOrder, ...rest];
  return all.length === 0 ? {} : { initContainers: all };
}

function patched(own: object, templates: readonly Container[], sealed: readonly string[]): object {
  const mine = own as Container;
  const found = templates.find(({ name }) => name === mine.name);
  if (found === undefined) return own;
  const given = without(found, [...NEVER_IN_OWN_CONTAINER, ...sealed]);
  const resources = { ...record(given['resources']) };
  for (const list of ['limits', 'requests'])
    Object.assign(resources, merged(list, record(given['resources']), record(mine['resources'])));
  return {
    ...given,
    ...mine,
    ...(given['imagePullPolicy'] === undefined ? {} : { imagePullPolicy: given['imagePullPolicy'] }),
    ...joined('ports', given, mine),
    ...joined('volumeMounts', given, mine),
    ...(Object.keys(resources).length > 0 ? { resources } : {}),
    securityContext: secure(containerSecurity(given), record(mine['securityContext'])),
  };
}

/** Ours wins; of the template stays what is at least as tight, such as a user, or a profile of one's own. */
function secure(given: Json, own: Json): Json {
  const { type } = record(given['seccompProfile']);
  const add = listOf(record(given['capabilities'])['add']).filter((name) => name === 'NET_BIND_SERVICE');
  const capabilities = { ...record(own['capabilities']), ...(add.length > 0 ? { add } : {}) };
  return {
    ...without(given, ['seccompProfile', 'capabilities']),
    ...own,
    ...(type === 'Localhost' || type === 'RuntimeDefault' ? { seccompProfile: given['seccompProfile'] } : {}),
    ...(Object.keys(capabilities).length > 0 ? { capabilities } : {}),
  };
}

function containerSecurity(container: Json): Json {
  return harmlessPart(record(container['securityContext']), 'container');
}

function confined(metadata: Json): Json {
  const entries = Object.entries(record(metadata['annotations'])).filter((entry) => !isUnconfined(entry));
  return { ...metadata, annotations: Object.fromEntries(entries) };
}

/** Without what would reach out of the pod, or for the unit token and what is beside it. */
function containersOf(list: unknown, adapter: boolean): Container[] {
  const sealed = sealedVolumes(adapter);
  const isSealed = (mount: unknown): boolean => isObject(mount) && sealed.includes(mount['name']);
  return named(list).map((container) => {
    const { ports, volumeMounts } = container;
    const asking = ASKING.filter((key) => container[key] !== undefined);
    return {
      ...container,
      ...(Array.isArray(ports) ? { ports: ports.filter(isObject).map((port) => without(port, HOST_OF_PORT)) } : {}),
      ...(Array.isArray(volumeMounts) ? { volumeMounts: volumeMounts.filter((mount) => !isSealed(mount)) } : {}),
      ...Object.fromEntries(asking.map((key) => [key, withoutHosts(container[key])])),
    };
  });
}

function withoutHosts(value: unknown): unknown {
  if (!isObject(value)) return value;
  const members = Object.entries(value).map(([key, sub]) => {
    const asks = (key === 'httpGet' || key === 'tcpSocket') && isObject(sub);
    return [key, asks ? without(sub, ['host']) : withoutHosts(sub)];
  });
  return Object.fromEntries(members) as unknown;
}

function merged(key: string, given: Json, own: Json): Json {
  const both = { ...record(given[key]), ...record(own[key]) };
  return Object.keys(both).length > 0 ? { [key]: both } : {};
}

function joined(key: string, given: Json, own: Json): Json {
  const both = [...listOf(given[key]), ...listOf(own[key])];
  return both.length > 0 ? { [key]: both } : {};
}

function othersThan(own: readonly object[], given: readonly Container[]): Container[] {
  return given.filter(({ name }) => !own.some((mine) => 'name' in mine && mine.name === name));
}

function named(list: unknown): Container[] {
  return listOf(list).filter((item): item is Container => isObject(item) && typeof item['name'] === 'string');
}

function listOf(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

function record(value: unknown): Json {
  return isObject(value) ? value : {};
}

function without(value: Json, keys: readonly string[]): Json {
  return Object.fromEntries(Object.entries(value).filter(([key]) => !keys.includes(key)));
}

/** A preserved field keeps its nulls; anywhere else in Kubernetes they count as absent. */
function withoutNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutNulls);
  if (!isObject(value)) return value;
  const members = Object.entries(value).filter(([, sub]) => sub !== null);
  return Object.fromEntries(members.map(([key, sub]) => [key, withoutNulls(sub)]));
}
