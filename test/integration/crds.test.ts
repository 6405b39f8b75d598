// SPDX-License-Identifier: Apache-2.0
// One corpus, two judges: a real API server and the local validator give the same verdict on every case.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { InferenceApp } from '#crds/inference-app.gen.ts';
import { parseManifests } from '#crds/parse.ts';
import { validateInferenceApp, validatePlacement } from '#crds/validate.ts';
import { edit, HANDLER, SIDECAR } from '#test/corpus/crds/case.ts';
import type { Doc, InvalidCase, ValidCase } from '#test/corpus/crds/case.ts';
import { INVALID_APPS } from '#test/corpus/crds/invalid-apps.ts';
import { INVALID_PLACEMENTS } from '#test/corpus/crds/invalid-placements.ts';
import { boundaries, mutations } from '#test/corpus/crds/mutations.ts';
import { ServerJudge } from '#test/corpus/crds/server-verdict.ts';
import { TRANSITIONS } from '#test/corpus/crds/transitions.ts';
import { sampleCases, VALID } from '#test/corpus/crds/valid.ts';
import { sharedKube } from '#test/servers/kube.ts';

const NAMESPACE = 'crds-test';
const run = promisify(execFile);
let judge: ServerJudge;

async function kubectl(args: readonly string[], input = ''): Promise<string> {
  const { kubectl: binary, kubeconfig } = sharedKube();
  const call = run(binary, ['--kubeconfig', kubeconfig, ...args]);
  call.child.stdin?.end(input);
  return (await call).stdout;
}

beforeAll(async () => {
  judge = new ServerJudge(sharedKube(), NAMESPACE);
  await kubectl(['create', 'namespace', NAMESPACE]);
});

afterAll(() => judge?.close());

/** The schema keeps a template as it is: what it may hold only the validator says, here and in the webhook. */
const HELD_AS_IT_IS = 'spec.worker.podTemplate.';

function local({ kind, doc }: ValidCase): { ok: boolean; paths: string[]; spec?: unknown } {
  const verdict = kind === 'InferenceApp' ? validateInferenceApp(doc) : validatePlacement(doc);
  if (!verdict.ok) return { ok: false, paths: verdict.errors.map((error) => error.path) };
  return { ok: true, paths: [], spec: verdict.value.spec };
}

/** The server in whose namespace the document is created knows better than samples do. */
function here(item: ValidCase): unknown {
  const { metadata } = item.doc as { metadata?: { namespace?: string } };
  return item.kind === 'InferenceApp' && metadata?.namespace !== undefined
    ? edit(item.doc as Doc, { 'metadata.namespace': undefined })
    : item.doc;
}

/** What is wrong with the two verdicts on an invalid document, or nothing. */
async function disagreement(item: InvalidCase): Promise<string[]> {
  const server = await judge.create(item.kind, item.doc);
  const mine = local(item);
  return [
    ...(server.status >= 400 && server.status < 500 ? [] : [`${item.name}: the API server answers ${server.status}`]),
    ...(item.silent || server.paths.includes(item.path)
      ? []
      : [`${item.name}: the API server names ${JSON.stringify(server.paths)}, not ${item.path}: ${server.message}`]),
    ...(mine.paths.includes(item.path) ? [] : [`${item.name}: the validator names ${JSON.stringify(mine.paths)}`]),
  ];
}

/** Asks about all of them, a few at a time, and returns every complaint. */
async function complaints<T>(items: readonly T[], look: (item: T) => Promise<string[]>): Promise<string[]> {
  const found: string[] = [];
  const queue = items.values();
  const worker = async (): Promise<void> => {
    for (const item of queue) found.push(...(await look(item)));
  };
  await Promise.all(Array.from({ length: 8 }, worker));
  return found;
}

describe('the API server and the local validator', () => {
  test.each([...VALID, ...sampleCases()])('both accept $kind: $name', async (item) => {
    const server = await judge.create(item.kind, here(item));
    expect({ status: server.status, message: server.message }).toEqual({ status: 201, message: '' });
    // Normalisation is the server's: the same defaults, the same members pruned.
    expect(local(item)).toEqual({ ok: true, paths: [], spec: server.body.spec });
  });

  test.each([...INVALID_APPS, ...INVALID_PLACEMENTS])('both refuse $kind: $name', async (item) => {
    expect(await disagreement(item)).toEqual([]);
  });

  test('both refuse every systematic mutation, at its path', async () => {
    expect(await complaints(mutations(), disagreement)).toEqual([]);
  });

  test('agree on every value at a limit', async () => {
    const differ = await complaints(boundaries(), async (item) => {
      const server = await judge.create(item.kind, item.doc);
      const mine = local(item);
      if (server.status >= 500) return [`${item.name}: ${server.message}`];
      if (server.status < 300 !== mine.ok) return [`${item.name}: ${server.message}, validator ${mine.paths.join()}`];
      return mine.paths
        .filter((path) => !server.paths.includes(path) && !path.startsWith(HELD_AS_IT_IS))
        .map((path) => `${item.name}: only here ${path}`);
    });
    expect(differ).toEqual([]);
  });

  test.each(TRANSITIONS)('agree when $name', async ({ old, next, path }) => {
    const name = (old.metadata as { name: string }).name;
    const created = await judge.create('InferenceApp', old, { dryRun: false });
    try {
      const { resourceVersion } = created.body.metadata as { resourceVersion: string };
      const server = await judge.update(
        'InferenceApp',
        name,
        edit(next, { 'metadata.resourceVersion': resourceVersion }),
      );
      const mine = validateInferenceApp(next, created.body as unknown as InferenceApp);
      const paths = mine.ok ? [] : mine.errors.map((error) => error.path);
      expect({ server: server.status < 300, local: mine.ok }).toEqual({ server: !path, local: !path });
      expect([server.paths.find((found) => found === path), paths.find((found) => found === path)]).toEqual([
        path,
        path,
      ]);
    } finally {
      await judge.delete('InferenceApp', name);
    }
  });

  test('read YAML with integers such as 3.0 alike', async () => {
    const text = JSON.stringify(edit(HANDLER, { 'spec.scaling': { minUnits: 3, maxUnits: 3 } })).replaceAll(
      ':3',
      ': 3.0',
    );
    const applied = JSON.parse(
      await kubectl(
        ['create', '-n', NAMESPACE, '--dry-run=server', '--validate=strict', '-o', 'json', '-f', '-'],
        text,
      ),
    ) as Doc;
    const parsed = parseManifests(text);
    const mine = parsed.ok ? local({ name: '3.0', kind: 'InferenceApp', doc: parsed.documents[0]?.value }) : parsed;
    expect(mine).toEqual({ ok: true, paths: [], spec: applied.spec });
  });

  test('both refuse a member that is given twice', async () => {
    const spec = '{"pricing": "Spot", "kubernetes": {}, "pricing": "Spot"}';
    const text = `{"apiVersion": "penstock.dev/v1alpha1", "kind": "Placement", "metadata": {"name": "a"}, "spec": ${spec}}`;
    expect((await judge.createText('Placement', text)).paths).toEqual(['spec.pricing']);
    expect(parseManifests(text)).toMatchObject({ ok: false, errors: [{ path: 'line 1' }] });
  });
});

describe('the CRDs', () => {
  test.each(['inferenceapps', 'placements'])('%s is Established and structural', async (plural) => {
    const crd = await judge.get(`/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${plural}.penstock.dev`);
    const { conditions } = crd.body.status as { conditions: { type: string; status: string }[] };
    const states = Object.fromEntries(conditions.map(({ type, status }) => [type, status]));
    expect(states).toMatchObject({ Established: 'True', NamesAccepted: 'True' });
    expect(states.NonStructuralSchema ?? 'False').toBe('False');
  });

  test('kubectl explain reads like documentation', async () => {
    const text = await kubectl(['explain', 'iapp.spec.scaling']);
    expect(text).toMatch(/ceil\(\(queued \+ leased\) \/ requestsPerUnit\)/);
    expect(text).toMatch(/minUnits\s+<integer>\s+Units that stay although the queue is dry/);
    expect(await kubectl(['explain', 'plc.spec.kubernetes.nodeSelectors'])).toMatch(/order of preference/);
  });

  test('short names, category and columns work', async () => {
    await judge.create('InferenceApp', edit(HANDLER, { 'metadata.name': 'listed' }), { dryRun: false });
    try {
      expect(await kubectl(['get', 'iapp', '-n', NAMESPACE])).toMatch(
        /NAME +PHASE +STARTING +READY +QUEUED +LEASED +WAITING-SINCE +PLACEMENT +AGE\s+listed/,
      );
      expect(await kubectl(['get', 'penstock', '-n', NAMESPACE, '-o', 'name'])).toContain(
        'inferenceapp.penstock.dev/listed',
      );
      expect(await kubectl(['api-resources', '--categories=penstock', '-o', 'name'])).toBe(
        'inferenceapps.penstock.dev\nplacements.penstock.dev\n',
      );
      expect(await kubectl(['api-resources', '--no-headers', '--categories=penstock'])).toMatch(/ plc .*Placement/);
    } finally {
      await judge.delete('InferenceApp', 'listed');
    }
  });

  test('an app without scaling has a scale, which kubectl scale moves within maxUnits', async () => {
    await judge.create('InferenceApp', edit(SIDECAR, { 'metadata.name': 'scaled' }), { dryRun: false });
    try {
      const scale = await judge.get(`${judge.path('InferenceApp')}/scaled/scale`);
      expect([scale.status, scale.body.spec]).toEqual([200, {}]);
      const command = ['scale', 'iapp', 'scaled', '-n', NAMESPACE];
      await kubectl([...command, '--replicas=1']);
      const after = await judge.get(`${judge.path('InferenceApp')}/scaled`);
      expect(after.body.spec).toMatchObject({ scaling: { minUnits: 1, maxUnits: 1 } });
      await expect(kubectl([...command, '--replicas=2'])).rejects.toThrow('minUnits must be at most maxUnits');
    } finally {
      await judge.delete('InferenceApp', 'scaled');
    }
  });

  test('status times have one form', async () => {
    const { body } = await judge.create('InferenceApp', edit(HANDLER, { 'metadata.name': 'timed' }), { dryRun: false });
    try {
      const status = (time: string): Promise<{ status: number }> =>
        judge.update('InferenceApp', 'timed/status', { ...body, status: { oldestRequestTime: time } });
      expect((await status('2026-11-21T10:00:00.123Z')).status).toBe(200);
      expect((await status('2026-11-21T10:00:00+01:00')).status).toBe(422);
      expect((await status('2026-02-30T10:00:00Z')).status).toBe(422);
    } finally {
      await judge.delete('InferenceApp', 'timed');
    }
  });

  test('kustomize builds them as a base', async () => {
    const built = await kubectl(['kustomize', new URL('../../config/crd', import.meta.url).pathname]);
    expect(built.match(/^kind: CustomResourceDefinition$/gm)).toHaveLength(2);
  });
});
