// SPDX-License-Identifier: Apache-2.0
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { localErrors, unsupportedHere } from './local-rules.ts';
import { anApp } from './testing.ts';

/** Handlers are relative to the manifest; this very file is one that exists. */
const FILE = fileURLToPath(new URL('./app.yaml', import.meta.url));
const handler = { archetype: 'Handler', handler: 'local-rules.ts' };
const sidecar = { archetype: 'Sidecar', command: ['serve'], server: { port: 9001 } };
const fromSecret = { secretKeyRef: { name: 'keys', key: 'api' } };

test.each<[what: string, worker: Record<string, unknown>, spec: Record<string, unknown>, paths: string[]]>([
  ['a handler file beside the manifest is fine', handler, {}, []],
  ['a handler file elsewhere is fine', { ...handler, handler: '../standalone/local-rules.ts' }, {}, []],
  ['a handler file that is not there is named', { ...handler, handler: 'no.ts' }, {}, ['spec.worker.handler']],
  ['a Python class is left to Python', { ...handler, handler: 'pkg.module:Model' }, {}, []],
  ['a command is fine', sidecar, {}, []],
  ['an image is no command', { ...sidecar, command: undefined, image: 'a/b:1' }, {}, ['spec.worker.command']],
  ['two model servers cannot share a port', sidecar, { scaling: { maxUnits: 2 } }, ['spec.scaling.maxUnits']],
  ['two handler units can be', handler, { scaling: { maxUnits: 2 } }, []],
  [
    'a Secret needs a cluster',
    {
      ...handler,
      env: [
        { name: 'A', value: 'x' },
        { name: 'B', valueFrom: fromSecret },
      ],
    },
    {},
    ['spec.worker.env[1].valueFrom'],
  ],
  ['a schema of its own is fine', handler, { request: { schema: { $ref: '#/$defs/a', $defs: { a: {} } } } }, []],
  [
    'a schema of others is named',
    handler,
    { request: { schema: { $ref: 'https://example.com/a' } } },
    ['spec.request.schema'],
  ],
  ['so do many at once', { ...handler, envFrom: [{ secretRef: { name: 'keys' } }] }, {}, ['spec.worker.envFrom']],
])('%s', (_what, worker, spec, paths) => {
  expect(localErrors(anApp(worker, spec), FILE).map(({ path }) => path)).toEqual(paths);
});

test.each<[what: string, worker: Record<string, unknown>, spec: Record<string, unknown>, paths: string[]]>([
  ['nothing, as a rule', handler, {}, []],
  ['an image, when there is a handler', { ...handler, image: 'a/b:1' }, {}, ['spec.worker.image']],
  ['resources', handler, { resources: { cpu: '2' } }, ['spec.resources']],
  ['fields of a pod', { ...handler, podTemplate: { spec: {} } }, {}, ['spec.worker.podTemplate']],
  ['placements other than local', handler, { placements: [{ name: 'local' }, { name: 'a' }] }, ['spec.placements[1]']],
  [
    'an image for here',
    handler,
    { placements: [{ name: 'local', overrides: { image: 'a/b:2' } }] },
    ['spec.placements[0].overrides.image'],
  ],
])('without effect here: %s', (_what, worker, spec, paths) => {
  expect(unsupportedHere(anApp(worker, spec))).toEqual(paths);
});
