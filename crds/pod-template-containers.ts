// SPDX-License-Identifier: Apache-2.0
import { echo, isRecord, member } from './field-error.ts';
import type { FieldError } from './field-error.ts';
import type { InferenceAppWorker } from './inference-app.gen.ts';
import { UNIT_POD, VISIBLE_DEVICES } from './names.ts';
import { gpuErrors, itemsOf, unknownMembers } from './pod-template-parts.ts';
import { containerSecurityErrors } from './pod-template-security.ts';
import { RESERVED_PREFIX, mountErrors } from './pod-template-volumes.ts';
import { showsDevices } from './visible-devices.ts';

interface Place {
  readonly list: 'containers' | 'initContainers';
  readonly archetype: InferenceAppWorker['archetype'];
}

/** Port of a unit's health and metrics, in every pod. */
const OPS_PORT = 9464;

const IN_ANY = [
  'imagePullPolicy',
  'lifecycle',
  'name',
  'ports',
  'resizePolicy',
  'resources',
  'securityContext',
  'terminationMessagePath',
  'terminationMessagePolicy',
  'volumeDevices',
  'volumeMounts',
  'workingDir',
];
const IN_OTHERS = [
  ...IN_ANY,
  'args',
  'command',
  'env',
  'envFrom',
  'image',
  'livenessProbe',
  'readinessProbe',
  'restartPolicy',
  'startupProbe',
  'stdin',
  'stdinOnce',
  'tty',
];
/**
 * Not of a Sidecar app's worker, which is Penstock's adapter: with a hook, a folder or a mount of its own an app would run code, or put
 * some in place of ours, beside the unit token.
 */
export const NOT_IN_ADAPTER: readonly string[] = [
  'lifecycle',
  'terminationMessagePath',
  'volumeDevices',
  'volumeMounts',
  'workingDir',
];
const BESIDE_TOKEN =
  'may not be specified: the worker of a Sidecar app is the adapter, beside whose token nothing of the app runs or lies';
const NO_PROBES = 'may not be specified: no probe ends a unit or says when it is ready; see spec.worker.server';
/** Members of the worker and the server that have a place of their own in the spec, or none. */
const OWNED: Readonly<Record<string, string>> = {
  image: 'may not be specified: say it in spec.worker.image',
  command: 'may not be specified: say it in spec.worker.command',
  args: 'may not be specified: say it in spec.worker.args',
  env: 'may not be specified: say it in spec.worker.env',
  envFrom: 'may not be specified: say it in spec.worker.envFrom',
  restartPolicy: 'may not be specified: a unit is never restarted',
  livenessProbe: NO_PROBES,
  readinessProbe: NO_PROBES,
  startupProbe: NO_PROBES,
};

/** Of `containers` or `initContainers`. */
export function containerListErrors(value: unknown, path: string, place: Place): FieldError[] {
  const { items, errors } = itemsOf(value, path);
  const names = new Set<unknown>();
  const own = items.flatMap(({ item, path: at }) => {
    const { name } = item;
    const fault = names.has(name) ? `must not be ${echo(name)} twice` : nameFault(name, place);
    names.add(name);
    // What a container of a wrong name may have depends on the right one.
    if (fault !== undefined) return [{ path: member(at, 'name'), message: fault }];
    return containerErrors(item, at, place.archetype);
  });
  return [...errors, ...own];
}

function nameFault(name: unknown, { list, archetype }: Place): string | undefined {
  if (typeof name !== 'string' || name === '') return 'must be specified: containers are merged by name';
  if (list === 'containers') {
    if (name === UNIT_POD.worker) return undefined;
    const helper = 'a helper is one of initContainers with restartPolicy Always, or the unit would never end';
    return `must be worker, not ${echo(name)}: ${name === UNIT_POD.server ? 'server is one of initContainers' : helper}`;
  }
  if (name === UNIT_POD.worker) return 'must not be worker, which is one of containers';
  if (name === UNIT_POD.server && archetype !== 'Sidecar') return 'must not be server: only a Sidecar app has one';
  return name.startsWith(RESERVED_PREFIX) ? `must not start with ${RESERVED_PREFIX}, which is reserved` : undefined;
}

function containerErrors(
  item: Readonly<Record<string, unknown>>,
  path: string,
  archetype: InferenceAppWorker['archetype'],
): FieldError[] {
  const ours = item['name'] === UNIT_POD.worker || item['name'] === UNIT_POD.server;
  const known = ours ? [...IN_ANY, ...Object.keys(OWNED)] : IN_OTHERS;
  return [
    ...unknownMembers(item, known, path),
    ...(ours ? ownedErrors(item, path, archetype) : []),
    ...containerSecurityErrors(
      item['securityContext'],
      member(path, 'securityContext'),
      item['name'] === UNIT_POD.worker,
    ),
    ...mountErrors(item['volumeMounts'], member(path, 'volumeMounts'), archetype),
    ...(ours ? [] : envErrors(item['env'], member(path, 'env'))),
    ...portErrors(item['ports'], member(path, 'ports')),
    ...gpuErrors(item['resources'], member(path, 'resources')),
    ...(ours ? unitResourceErrors(item, member(path, 'resources'), archetype) : []),
    ...['lifecycle', 'livenessProbe', 'readinessProbe', 'startupProbe'].flatMap((key) =>
      hostErrors(item[key], member(path, key)),
    ),
  ];
}

function ownedErrors(
  item: Readonly<Record<string, unknown>>,
  path: string,
  archetype: InferenceAppWorker['archetype'],
): FieldError[] {
  const isAdapter = item['name'] === UNIT_POD.worker && archetype === 'Sidecar';
  return Object.keys(item).flatMap((key) => {
    const own = Object.hasOwn(OWNED, key) ? OWNED[key] : undefined;
    const message = own ?? (isAdapter && NOT_IN_ADAPTER.includes(key) ? BESIDE_TOKEN : undefined);
    return message === undefined || item[key] === null ? [] : [{ path: member(path, key), message }];
  });
}

/** cpu and memory of the container that does the work are the unit's. */
function unitResourceErrors(
  item: Readonly<Record<string, unknown>>,
  path: string,
  archetype: InferenceAppWorker['archetype'],
): FieldError[] {
  const works = item['name'] === (archetype === 'Sidecar' ? UNIT_POD.server : UNIT_POD.worker);
  const { resources } = item;
  if (!works || !isRecord(resources)) return [];
  return ['limits', 'requests'].flatMap((list) => {
    const entries = resources[list];
    const names = isRecord(entries) ? ['cpu', 'memory'].filter((name) => Object.hasOwn(entries, name)) : [];
    return names.map((name) => ({
      path: member(path, `${list}.${name}`),
      message: `may not be specified: say it in spec.resources.${name}`,
    }));
  });
}

/** Of a helper: the others have theirs in the spec. */
function envErrors(value: unknown, path: string): FieldError[] {
  const { items, errors } = itemsOf(value, path);
  const message = `must not be ${VISIBLE_DEVICES.variable} unless its value is none or void: it shows a container GPUs that it did not ask for`;
  const shown = items
    .filter(({ item }) => showsDevices(item))
    .map(({ path: at }) => ({ path: member(at, 'name'), message }));
  return [...errors, ...shown];
}

function portErrors(value: unknown, path: string): FieldError[] {
  const { items, errors } = itemsOf(value, path);
  const own = items.flatMap(({ item, path: at }) => {
    const found: FieldError[] = [];
    if ((item['hostPort'] ?? 0) !== 0) {
      found.push({ path: member(at, 'hostPort'), message: 'may not be specified: a unit has no part of the node' });
    }
    if (item['name'] === UNIT_POD.opsPortName || item['containerPort'] === OPS_PORT) {
      const message = `must not be ${OPS_PORT} (${UNIT_POD.opsPortName}), where the unit shows its health and metrics`;
      found.push({ path: at, message });
    }
    return found;
  });
  return [...errors, ...own];
}

/** Probes and hooks run from the kubelet: a host of one's choice makes it ask others (PodSecurity `baseline` of 1.34). */
function hostErrors(value: unknown, path: string): FieldError[] {
  if (!isRecord(value)) return [];
  return Object.entries(value).flatMap(([key, sub]) => {
    const at = member(path, key);
    if ((key === 'httpGet' || key === 'tcpSocket') && isRecord(sub) && (sub['host'] ?? '') !== '') {
      return [{ path: member(at, 'host'), message: 'may not be specified: the pod itself is asked' }];
    }
    return hostErrors(sub, at);
  });
}
