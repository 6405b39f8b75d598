// SPDX-License-Identifier: Apache-2.0
import { edit, HANDLER, SIDECAR } from './case.ts';
import type { Doc, InvalidCase } from './case.ts';

const app = (name: string, path: string, doc: unknown): InvalidCase => ({ name, kind: 'InferenceApp', doc, path });
const handler = (name: string, path: string, changes: Doc): InvalidCase => app(name, path, edit(HANDLER, changes));
const sidecar = (name: string, path: string, changes: Doc): InvalidCase => app(name, path, edit(SIDECAR, changes));
const silent = (invalid: InvalidCase): InvalidCase => ({ ...invalid, silent: true });
const slice = (name: string, member: string, value: Doc): InvalidCase =>
  handler(name, `spec.resources.gpu.slice${member}`, { 'spec.resources': { gpu: { slice: value } } });
const env = (...items: readonly unknown[]): Doc => ({ 'spec.worker.env': items });

export const INVALID_APPS: readonly InvalidCase[] = [
  // The object itself
  silent(app('a list is no object', '', [])),
  silent(handler('no kind', 'kind', { kind: undefined })),
  handler('another kind', 'kind', { kind: 'Placement' }),
  handler('no spec', 'spec', { spec: undefined }),
  handler('spec is null', 'spec', { spec: null }),
  handler('spec is a list', 'spec', { spec: [] }),
  handler('spec is empty', 'spec.worker', { spec: {} }),
  handler('a misspelt member at the top', 'sepc', { sepc: {} }),
  handler('an unknown member of status', 'status.fase', { status: { fase: 'Ready' } }),

  // Names
  handler('no metadata', 'metadata.name', { metadata: undefined }),
  handler('no name', 'metadata.name', { metadata: {} }),
  handler('an empty name', 'metadata.name', { 'metadata.name': '' }),
  handler('a name with a dot', 'metadata.name', { 'metadata.name': 'a.b' }),
  handler('a name with a capital', 'metadata.name', { 'metadata.name': 'Ocr' }),
  handler('a name that ends with a dash', 'metadata.name', { 'metadata.name': 'ocr-' }),
  handler('a name with a slash', 'metadata.name', { 'metadata.name': '../ocr' }),
  handler('a name of 41 characters', 'metadata.name', { 'metadata.name': 'a'.repeat(41) }),
  handler('generateName that makes names too long', 'metadata.name', {
    'metadata.name': undefined,
    'metadata.generateName': `${'a'.repeat(37)}-`,
  }),
  handler('generateName with a dot', 'metadata.name', {
    'metadata.name': undefined,
    'metadata.generateName': 'a.b-',
  }),
  silent(handler('the reserved name usage', '', { 'metadata.name': 'usage' })),
  silent(handler('the reserved name openapi', '', { 'metadata.name': 'openapi' })),
  silent(handler('the reserved name tenants', '', { 'metadata.name': 'tenants' })),
  handler('a misspelt member of metadata', 'metadata.lables', { 'metadata.lables': {} }),
  silent(handler('a label that is no string', 'metadata.labels.a', { 'metadata.labels': { a: 1 } })),
  handler('a label with a space in its key', 'metadata.labels', { 'metadata.labels': { 'a b': 'c' } }),
  handler('a label with a space in its value', 'metadata.labels', { 'metadata.labels': { a: 'b c' } }),
  handler('a label value of 64 characters', 'metadata.labels', { 'metadata.labels': { a: 'b'.repeat(64) } }),
  handler('an annotation with two slashes', 'metadata.annotations', { 'metadata.annotations': { 'a/b/c': '' } }),
  handler('a finalizer with a space', 'metadata.finalizers', { 'metadata.finalizers': ['a b'] }),
  handler('an owner with an unknown member', 'metadata.ownerReferences[0].of', {
    'metadata.ownerReferences': [{ apiVersion: 'v1', kind: 'Pod', name: 'a', uid: 'b', of: 'c' }],
  }),
  handler('annotations of more than 256 KiB', 'metadata.annotations', {
    'metadata.annotations': { a: 'x'.repeat(262_144) },
  }),

  // Unknown members, which the API server answers with one message and nothing else
  handler('a misspelt member of spec', 'spec.scalign', { 'spec.scalign': { minUnits: 1 } }),
  handler('a member in other letters', 'spec.worker.Archetype', { 'spec.worker.Archetype': 'Handler' }),
  handler('a member in the wrong place', 'spec.minUnits', { 'spec.minUnits': 1 }),
  handler('a field of a later version', 'spec.scaling.sla', { 'spec.scaling.sla': {} }),
  handler('an unknown member within a list', 'spec.worker.env[1].vaule', env({ name: 'A' }, { name: 'B', vaule: 'x' })),
  handler('a prototype is only a name', 'spec.worker.constructor', { 'spec.worker.constructor': {} }),

  handler('an object for a word', 'spec.worker.handler.path', { 'spec.worker.handler': { path: 'a.ts' } }),
  handler('a list of objects for a number', 'spec.scaling.maxUnits[0].of', { 'spec.scaling.maxUnits': [{ of: 1 }] }),
  handler('a list for an object', 'spec.worker[0].archetype', { 'spec.worker': [{ archetype: 'Handler' }] }),
  handler('an object for a quantity', 'spec.resources.cpu.limit', { 'spec.resources.cpu': { limit: 1 } }),
  handler('an unknown member that is null', 'spec.worker.img', { 'spec.worker.img': null }),

  // Archetype and its fields
  handler('no archetype', 'spec.worker.archetype', { 'spec.worker.archetype': undefined }),
  handler('archetype is null', 'spec.worker.archetype', { 'spec.worker.archetype': null }),
  handler('an unknown archetype', 'spec.worker.archetype', { 'spec.worker.archetype': 'Job' }),
  handler('a Handler app without a handler', 'spec.worker.handler', { 'spec.worker.handler': undefined }),
  handler('a Handler app with a command', 'spec.worker.command', { 'spec.worker.command': ['sh'] }),
  handler('a Handler app with arguments', 'spec.worker.args', { 'spec.worker.args': [] }),
  handler('a Handler app with a server', 'spec.worker.server', { 'spec.worker.server': { port: 80 } }),
  handler('a Handler app with other arguments in a placement', 'spec.placements', {
    'spec.placements': [{ name: 'a', overrides: { args: ['x'] } }],
  }),
  sidecar('a Sidecar app without a server', 'spec.worker.server', { 'spec.worker.server': undefined }),
  sidecar('a Sidecar app with a handler', 'spec.worker.handler', { 'spec.worker.handler': 'a.ts' }),
  sidecar('a Sidecar app with a batch size', 'spec.worker.batchSize', { 'spec.worker.batchSize': 2 }),
  sidecar('a Sidecar app with two instances', 'spec.worker.instances', { 'spec.worker.instances': 2 }),
  sidecar('a Sidecar app with two instances in a placement', 'spec.placements', {
    'spec.placements': [{ name: 'a', overrides: { instances: 2 } }],
  }),
  sidecar('a Sidecar app without image and command', 'spec.worker.image', { 'spec.worker.image': undefined }),
  sidecar('an empty command', 'spec.worker.command', { 'spec.worker.command': [] }),
  sidecar('a server without a port', 'spec.worker.server.port', { 'spec.worker.server': {} }),
  sidecar("the unit's own port", 'spec.worker.server.port', { 'spec.worker.server.port': 9464 }),
  sidecar('a path without a slash', 'spec.worker.server.path', { 'spec.worker.server.path': 'predict' }),
  sidecar('a path with a space', 'spec.worker.server.path', { 'spec.worker.server.path': '/a b' }),
  sidecar('a path with a line break', 'spec.worker.server.path', { 'spec.worker.server.path': '/a\r\nHost: x' }),
  sidecar('the method GET', 'spec.worker.server.method', { 'spec.worker.server.method': 'GET' }),
  sidecar('half a content type', 'spec.worker.server.contentType', { 'spec.worker.server.contentType': 'json' }),
  handler('a handler that is neither a module nor a class', 'spec.worker.handler', { 'spec.worker.handler': 'ocr' }),
  handler('a handler with a shell in it', 'spec.worker.handler', { 'spec.worker.handler': 'a.ts; rm -rf /' }),
  handler('a handler that ends with a line break', 'spec.worker.handler', { 'spec.worker.handler': 'a.ts\n' }),
  handler('an image with a space', 'spec.worker.image', { 'spec.worker.image': 'a b' }),
  handler('an image that starts like an option', 'spec.worker.image', { 'spec.worker.image': '--privileged' }),

  // Environment
  handler('env is a map', 'spec.worker.env.A', { 'spec.worker.env': { A: 'b' } }),
  handler('null among env', 'spec.worker.env[0]', env(null)),
  handler('a variable without a name', 'spec.worker.env[0].name', env({ value: 'x' })),
  handler('a variable whose value is a number', 'spec.worker.env[0].value', env({ name: 'A', value: 1 })),
  handler('a variable twice', 'spec.worker.env[2]', env({ name: 'A' }, { name: 'B' }, { name: 'A', value: 'x' })),
  handler('a variable twice in a placement', 'spec.placements[0].overrides.env[1]', {
    'spec.placements': [{ name: 'a', overrides: { env: [{ name: 'A' }, { name: 'A' }] } }],
  }),
  handler('a reserved variable', 'spec.worker.env[0].name', env({ name: 'PENSTOCK_BROKER_URL', value: 'http://evil' })),
  handler('a reserved variable in a placement', 'spec.placements[0].overrides.env[0].name', {
    'spec.placements': [{ name: 'a', overrides: { env: [{ name: 'PENSTOCK_X' }] } }],
  }),
  handler('GPUs by a variable', 'spec.worker.env[0].name', env({ name: 'NVIDIA_VISIBLE_DEVICES', value: 'all' })),
  handler(
    'one GPU by a variable, beside none',
    'spec.worker.env[1].name',
    env({ name: 'A' }, { name: 'NVIDIA_VISIBLE_DEVICES', value: 'none,0' }),
  ),
  handler(
    'GPUs by a variable from elsewhere',
    'spec.worker.env[0].name',
    env({ name: 'NVIDIA_VISIBLE_DEVICES', valueFrom: { fieldRef: { fieldPath: 'metadata.uid' } } }),
  ),
  handler('GPUs by a variable in a placement', 'spec.placements[0].overrides.env[0].name', {
    'spec.placements': [{ name: 'a', overrides: { env: [{ name: 'NVIDIA_VISIBLE_DEVICES', value: '0' }] } }],
  }),
  handler(
    'a value and a source',
    'spec.worker.env[0].value',
    env({ name: 'A', value: '', valueFrom: { fieldRef: { fieldPath: 'metadata.uid' } } }),
  ),
  handler('a source that is empty', 'spec.worker.env[0].valueFrom', env({ name: 'A', valueFrom: {} })),
  handler(
    'two sources',
    'spec.worker.env[0].valueFrom',
    env({ name: 'A', valueFrom: { secretKeyRef: { name: 'a', key: 'b' }, configMapKeyRef: { name: 'a', key: 'b' } } }),
  ),
  handler(
    'a field that pods do not offer',
    'spec.worker.env[0].valueFrom.fieldRef.fieldPath',
    env({ name: 'A', valueFrom: { fieldRef: { fieldPath: 'spec.containers' } } }),
  ),
  handler(
    'a secret without a key',
    'spec.worker.env[0].valueFrom.secretKeyRef.key',
    env({ name: 'A', valueFrom: { secretKeyRef: { name: 'a' } } }),
  ),
  handler('envFrom without a source', 'spec.worker.envFrom[0]', { 'spec.worker.envFrom': [{ prefix: 'A' }] }),
  handler('envFrom with two sources', 'spec.worker.envFrom[0]', {
    'spec.worker.envFrom': [{ configMapRef: { name: 'a' }, secretRef: { name: 'b' } }],
  }),

  // Numbers and quantities
  handler('minUnits above maxUnits', 'spec.scaling.minUnits', { 'spec.scaling': { minUnits: 3, maxUnits: 2 } }),
  handler('minUnits above the default of maxUnits', 'spec.scaling.minUnits', { 'spec.scaling': { minUnits: 2 } }),
  handler('maxUnits zero', 'spec.scaling.maxUnits', { 'spec.scaling': { maxUnits: 0 } }),
  handler('a pattern does not hide a rule', 'spec.scaling.minUnits', {
    'spec.worker.image': ' ',
    'spec.scaling': { minUnits: 3, maxUnits: 2 },
  }),
  handler('an enum hides rules, and is named itself', 'spec.desiredState', {
    'spec.desiredState': 'Stopped',
    'spec.scaling': { minUnits: 3, maxUnits: 2 },
  }),
  handler('units in words', 'spec.scaling.maxUnits', { 'spec.scaling.maxUnits': '3' }),
  handler('half a unit', 'spec.scaling.maxUnits', { 'spec.scaling.maxUnits': 1.5 }),
  handler('as many units as a float holds', 'spec.scaling.maxUnits', { 'spec.scaling.maxUnits': 1e300 }),
  handler('a schema with bodies too large to be held', 'spec.request.maxBytes', {
    'spec.request': { maxBytes: 8_388_609, schema: {} },
  }),
  handler('a schema that is true', 'spec.request.schema', { 'spec.request.schema': true }),
  handler('a schema as text', 'spec.request.schema', { 'spec.request.schema': '{}' }),
  handler('a duration in words', 'spec.request.timeoutSeconds', { 'spec.request.timeoutSeconds': '30s' }),
  handler('idleLinger of a later version', 'spec.scaling.idleLinger.policy', {
    'spec.scaling.idleLinger.policy': 'Auto',
  }),
  handler('no GPU at all, in numbers', 'spec.resources.gpu.count', { 'spec.resources.gpu': { count: 0 } }),
  slice('a slice without a mode', '.mode', {}),
  slice('a slice of another mode', '.mode', { mode: 'Fast' }),
  slice('slots of whole GPUs', '.slots', { mode: 'Exclusive', slots: 2 }),
  slice('slots of whole GPUs by the other word', '.slots', { mode: 'Isolated', slots: 2 }),
  slice('memory of whole GPUs', '.memory', { mode: 'Exclusive', memory: '10Gi' }),
  slice('slots and memory', '.memory', { mode: 'Shared', slots: 2, memory: '10Gi' }),
  slice('memory in GB', '.memory', { mode: 'Shared', memory: '10GB' }),
  slice('slots of a MIG instance', '.slots', { mode: 'MIG', profile: '1g.10gb', slots: 2 }),
  slice('memory of a MIG instance', '.memory', { mode: 'MIG', profile: '1g.10gb', memory: '10Gi' }),
  slice('a MIG instance without a profile', '.profile', { mode: 'MIG' }),
  slice('a profile of a shared GPU', '.profile', { mode: 'Shared', profile: '1g.10gb' }),
  slice('a profile with the prefix of its resource', '.profile', { mode: 'MIG', profile: 'mig-1g.10gb' }),
  handler('a cpu that is no quantity', 'spec.resources.cpu', { 'spec.resources.cpu': 'two' }),
  handler('half a cpu as a number', 'spec.resources.cpu', { 'spec.resources.cpu': 0.5 }),
  handler('no cpu at all', 'spec.resources.cpu', { 'spec.resources.cpu': 0 }),
  handler('a cpu that is a truth value', 'spec.resources.cpu', { 'spec.resources.cpu': true }),
  handler('a memory in GB', 'spec.resources.memory', { 'spec.resources.memory': '2GB' }),
  handler('a memory below nothing', 'spec.resources.memory', { 'spec.resources.memory': -1 }),

  // Placements
  handler('a placement twice', 'spec.placements', { 'spec.placements': [{ name: 'a' }, { name: 'b' }, { name: 'a' }] }),
  handler('a placement without a name', 'spec.placements[0].name', { 'spec.placements': [{}] }),
  handler('a placement as a word', 'spec.placements[0]', { 'spec.placements': ['a'] }),
];
