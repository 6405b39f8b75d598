// SPDX-License-Identifier: Apache-2.0
import { expect, it } from 'vitest';
import type { InferenceApp } from '#crds/inference-app.gen.ts';
import { KubeError } from '#kube/errors.ts';
import type { KubeCause } from '#kube/errors.ts';
import type { Call } from '#kube/transport.ts';
import { createJobDryRun } from './job-dry-run.ts';
import type { DryRun } from './job-dry-run.ts';
import { stored } from './testing.ts';

const podTemplate = { spec: { initContainers: [{ name: 'fetch', image: 'f' }] } };
const app = stored('InferenceApp', 'ocr', {
  worker: { archetype: 'Sidecar', image: 'a:1', server: { port: 80 }, podTemplate },
}) as unknown as InferenceApp;

async function tryJob(answer: () => unknown): Promise<{ calls: Call[]; found: DryRun }> {
  const calls: Call[] = [];
  const call = (made: Call): Promise<unknown> => {
    calls.push(made);
    return Promise.resolve().then(answer);
  };
  const found = await createJobDryRun({ call }).tryJob(app, 'team', new AbortController().signal);
  return { calls, found };
}

const failing = (status: number, message: string, causes: readonly KubeCause[] = []): (() => never) => {
  return () => {
    throw new KubeError(message, { status, reason: 'Test', causes });
  };
};

it('is a Job in the namespace of the app, merged as the operator does, of which nothing stays', async () => {
  const { calls, found } = await tryJob(() => ({}));
  expect(found).toEqual({ problems: [], warnings: [] });
  expect(calls[0]).toMatchObject({
    method: 'POST',
    path: '/apis/batch/v1/namespaces/team/jobs',
    query: { dryRun: 'All', fieldValidation: 'Strict' },
  });
  const { body } = calls[0] as { body: { spec: { template: { spec: Record<string, { name: string }[]> } } } };
  const { initContainers, containers, volumes } = body.spec.template.spec;
  expect([initContainers, containers, volumes].map((list) => list?.map(({ name }) => name))).toEqual([
    ['fetch', 'server'],
    ['worker'],
    ['token', 'tmp', 'server-tmp'],
  ]);
});

const T = 'spec.worker.podTemplate';

it.each<[string, () => never, [string, string][]]>([
  [
    'what its validation says',
    failing(422, 'Job is invalid', [
      { field: 'spec.template.spec.initContainers[0].image', message: 'Required value', reason: 'FieldValueRequired' },
      { field: 'spec.template.labels', message: 'Invalid value', reason: 'Other' },
      { field: 'metadata.name', message: 'Invalid value', reason: 'FieldValueInvalid' },
    ]),
    [
      [`${T}.spec.initContainers[0].image`, 'FieldValueRequired'],
      [`${T}.labels`, 'FieldValueInvalid'],
      [T, 'FieldValueInvalid'],
    ],
  ],
  [
    'what its strict decoding does not know',
    failing(400, 'strict decoding error: unknown field "spec.template.spec.a", duplicate field "spec.template.spec.b"'),
    [
      [`${T}.spec.a`, 'FieldValueNotSupported'],
      [`${T}.spec.b`, 'FieldValueNotSupported'],
    ],
  ],
  [
    'what cannot be decoded',
    failing(
      400,
      'json: cannot unmarshal string into Go struct field PodSpec.spec.template.spec.hostUsers of type bool',
    ),
    [[`${T}.spec.hostUsers`, 'FieldValueInvalid']],
  ],
  ['anything else that is wrong with its form', failing(400, 'no'), [[T, 'FieldValueInvalid']]],
])('finds %s', async (_what, answer, wanted) => {
  const { found } = await tryJob(answer);
  expect(found.problems.map(({ path, reason }) => [path, reason])).toEqual(wanted);
  expect(found.warnings).toEqual([]);
});

it.each<[string, () => never]>([
  ['a quota', failing(403, 'exceeded quota')],
  ['a namespace that is not there', failing(404, 'not found')],
  ['trouble of the server', failing(500, 'internal')],
  ['a deadline', failing(0, 'no answer within 3000 ms')],
  [
    'an error that is no KubeError',
    () => {
      throw new Error('aborted');
    },
  ],
])('only warns of %s', async (_what, answer) => {
  const { found } = await tryJob(answer);
  expect(found.problems).toEqual([]);
  expect(found.warnings).toEqual([
    expect.stringMatching(/^spec\.worker\.podTemplate: the Job of a unit could not be tried: /),
  ]);
});
