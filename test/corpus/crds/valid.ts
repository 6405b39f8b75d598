// SPDX-License-Identifier: Apache-2.0
import { globSync, readFileSync } from 'node:fs';
import { parseManifests } from '#crds/parse.ts';
import {
  edit,
  FULL_HANDLER,
  FULL_PLACEMENT,
  FULL_SIDECAR,
  HANDLER,
  MIG_HANDLER,
  PLACEMENT,
  SIDECAR,
  VRAM_HANDLER,
} from './case.ts';
import type { Doc, KindName, ValidCase } from './case.ts';

const root = new URL('../../../', import.meta.url);

/** Every InferenceApp and Placement in the samples. */
export function sampleCases(): ValidCase[] {
  return globSync('config/samples/**/*.yaml', { cwd: root })
    .sort()
    .flatMap((file) => {
      const parsed = parseManifests(readFileSync(new URL(file, root), 'utf8'));
      if (!parsed.ok) throw new Error(`${file}: ${JSON.stringify(parsed.errors)}`);
      return parsed.documents
        .map(({ value }) => value as Doc)
        .filter((doc) => doc.kind === 'InferenceApp' || doc.kind === 'Placement')
        .map((doc): ValidCase => ({ name: `sample ${file}`, kind: doc.kind as KindName, doc }));
    });
}

const app = (name: string, doc: Doc): ValidCase => ({ name, kind: 'InferenceApp', doc });
const placement = (name: string, doc: Doc): ValidCase => ({ name, kind: 'Placement', doc });

export const VALID: readonly ValidCase[] = [
  app('the least that a Handler app needs', HANDLER),
  app('the least that a Sidecar app needs', SIDECAR),
  app('a Handler app with every field', FULL_HANDLER),
  app('a Sidecar app with every field', FULL_SIDECAR),
  app('a MIG instance', MIG_HANDLER),
  app('a share of GPU memory', VRAM_HANDLER),
  app('the cluster decides how many slots', edit(VRAM_HANDLER, { 'spec.resources.gpu.slice': { mode: 'Shared' } })),
  app('whole GPUs by either word', edit(VRAM_HANDLER, { 'spec.resources.gpu.slice': { mode: 'Isolated' } })),
  app('a MIG profile with media', edit(MIG_HANDLER, { 'spec.resources.gpu.slice.profile': '1g.10gb.me' })),
  app('a pod template without a member', edit(HANDLER, { 'spec.worker.podTemplate': {} })),
  app(
    'null on every optional member counts as absent',
    edit(HANDLER, {
      'spec.desiredState': null,
      'spec.scaling': null,
      'spec.request': null,
      'spec.resources': null,
      'spec.placements': null,
      'spec.worker.env': null,
      'spec.worker.image': null,
      'spec.worker.instances': null,
    }),
  ),
  app(
    'null within an object that has defaults',
    edit(HANDLER, {
      'spec.scaling': { minUnits: null, maxUnits: 3, idleLinger: null },
      'spec.request': { retry: { maxLosses: null } },
    }),
  ),
  app(
    'empty objects get their defaults',
    edit(HANDLER, {
      'spec.scaling': {},
      'spec.request': {},
      'spec.resources': { gpu: {} },
    }),
  ),
  app('minUnits equal to maxUnits', edit(HANDLER, { 'spec.scaling': { minUnits: 7, maxUnits: 7 } })),
  app(
    'a schema with names, nulls and nesting of its own, and the largest body that may be checked',
    edit(HANDLER, {
      'spec.request.maxBytes': 8_388_608,
      'spec.request.schema': {
        properties: { kind: { enum: [null, 1] }, a: { anyOf: [{ const: null }, {}] } },
        default: null,
      },
    }),
  ),
  app('an empty schema', edit(HANDLER, { 'spec.request.schema': {} })),
  app('Paused', edit(HANDLER, { 'spec.desiredState': 'Paused' })),
  app('Draining', edit(SIDECAR, { 'spec.desiredState': 'Draining' })),
  app('a Python handler in a package', edit(HANDLER, { 'spec.worker.handler': 'a.b_c.d:E1' })),
  app('a handler in a folder above', edit(HANDLER, { 'spec.worker.handler': '../handlers/@scope/x.mjs' })),
  app(
    'a Sidecar app that has only a command',
    edit(SIDECAR, {
      'spec.worker.image': undefined,
      'spec.worker.command': ['python3', '-m', 'http.server'],
    }),
  ),
  app('an empty list of arguments', edit(SIDECAR, { 'spec.worker.args': [] })),
  app('an empty string among the arguments', edit(SIDECAR, { 'spec.worker.args': [''] })),
  app('an environment variable without a value', edit(HANDLER, { 'spec.worker.env': [{ name: 'EMPTY' }] })),
  ...[undefined, '', 'none', 'void'].map((value) =>
    app(
      `no GPUs by a variable: ${value}`,
      edit(HANDLER, {
        'spec.worker.env': [{ name: 'NVIDIA_VISIBLE_DEVICES', ...(value === undefined ? {} : { value }) }],
      }),
    ),
  ),
  app(
    'what of the driver is mounted',
    edit(HANDLER, { 'spec.worker.env': [{ name: 'NVIDIA_DRIVER_CAPABILITIES', value: 'all' }] }),
  ),
  app('a reserved prefix in other letters', edit(HANDLER, { 'spec.worker.env': [{ name: 'penstock_x', value: '1' }] })),
  app(
    'characters beyond the basic plane count once',
    edit(HANDLER, {
      'spec.worker.env': [{ name: 'WIDE', value: '\u{1F600}'.repeat(8192) }],
    }),
  ),
  app('cpu and memory as integers', edit(HANDLER, { 'spec.resources': { cpu: 2, memory: 1073741824 } })),
  app('cpu and memory as strings', edit(HANDLER, { 'spec.resources': { cpu: '0.5', memory: '512M' } })),
  app('a name of 40 characters that starts with a digit', edit(HANDLER, { 'metadata.name': `1${'a'.repeat(39)}` })),
  app('a name that only contains a reserved one', edit(HANDLER, { 'metadata.name': 'usage-2' })),
  app(
    'labels and annotations',
    edit(HANDLER, {
      'metadata.labels': { 'app.kubernetes.io/part-of': 'x.y_z', empty: '', nothing: null },
      'metadata.annotations': { 'Example.com/Note': 'any text: ☃', plain: '' },
    }),
  ),
  app('generateName', edit(HANDLER, { 'metadata.name': undefined, 'metadata.generateName': 'made-' })),
  app('null on members of metadata', edit(HANDLER, { 'metadata.labels': null, 'metadata.annotations': null })),
  app('a status that a create does not look into', edit(HANDLER, { status: { phase: 'Nonsense', replicas: -1 } })),
  app(
    'the same variable in two placements',
    edit(HANDLER, {
      'spec.placements': [
        { name: 'a', overrides: { env: [{ name: 'A' }] } },
        { name: 'b', overrides: { env: [{ name: 'A' }] } },
      ],
    }),
  ),
  app('an empty list of placements', edit(HANDLER, { 'spec.placements': [] })),
  app('overrides without a member', edit(HANDLER, { 'spec.placements': [{ name: 'a', overrides: {} }] })),
  app(
    'overrides.instances 1 of a Sidecar app',
    edit(SIDECAR, {
      'spec.placements': [{ name: 'a', overrides: { instances: 1 } }],
    }),
  ),
  placement('the least that a Placement needs', PLACEMENT),
  placement('a Placement with every field', FULL_PLACEMENT),
  placement(
    'a node selector whose value is null',
    edit(PLACEMENT, { 'spec.kubernetes.nodeSelectors': [{ gone: null }] }),
  ),
  placement('a toleration of everything', edit(PLACEMENT, { 'spec.kubernetes.tolerations': [{ operator: 'Exists' }] })),
  placement(
    'a toleration that leaves the operator to its default',
    edit(PLACEMENT, {
      'spec.kubernetes.tolerations': [{ key: 'spot', value: 'true' }],
    }),
  ),
  placement('an affinity without terms', edit(PLACEMENT, { 'spec.kubernetes.affinity': { nodeAffinity: {} } })),
  placement(
    'NotIn and DoesNotExist',
    edit(PLACEMENT, {
      'spec.kubernetes.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms': [
        {
          matchExpressions: [
            { key: 'a', operator: 'NotIn', values: [''] },
            { key: 'b', operator: 'DoesNotExist', values: [] },
          ],
        },
      ],
    }),
  ),
  placement('GPUs that are not split', edit(PLACEMENT, { 'spec.sharing': { mode: 'Exclusive' } })),
  placement('MIG as the nodes say', edit(PLACEMENT, { 'spec.sharing': { mode: 'MIG' } })),
  placement(
    'time-slicing under the name of whole GPUs',
    edit(PLACEMENT, { 'spec.sharing': { mode: 'TimeSlicing', resourceName: 'nvidia.com/gpu', memoryPerSlot: 1024 } }),
  ),
  placement('costs nothing', edit(PLACEMENT, { 'spec.costPerHour': '0' })),
  placement('a namespace in a cluster-scoped object', edit(PLACEMENT, { 'metadata.namespace': 'default' })),
];
