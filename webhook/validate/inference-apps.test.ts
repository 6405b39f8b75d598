// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { readTenants } from '#base/tenants.ts';
import type { TenantsDocument } from '#base/tenants.ts';
import type { Placement } from '#crds/placement.gen.ts';
import type { AdmissionRequest, Verdict } from '../admission/types.ts';
import { readImages } from './images.ts';
import type { ImagePolicy } from './images.ts';
import type { Known } from './hot-document.ts';
import { validateInferenceApps } from './inference-apps.ts';
import type { DryRun } from './job-dry-run.ts';
import { aPlacement, aReview, stored } from './testing.ts';

type Json = Record<string, unknown>;

interface World {
  placements?: readonly Placement[];
  /** As the API server has them by now. */
  really?: readonly Placement[];
  synced?: boolean;
  images?: Known<ImagePolicy>;
  tenants?: Known<TenantsDocument>;
  mayCreatePods?: boolean | Error;
  dryRun?: DryRun;
}

const known = <T>(value: T | undefined): Known<T> =>
  value === undefined ? { state: 'absent' } : { state: 'known', value };
const UNKNOWN = { state: 'unknown', why: 'nobody has looked yet' } as const;
const IMAGES = known(readImages('version: 1\nrules: [{ namespaces: [team], images: [ghcr.io/team/**] }]'));
const tenants = (text: string): Known<TenantsDocument> => known(readTenants(text));

const WORKER = { archetype: 'Handler', handler: 'a.ts', image: 'ghcr.io/team/a:1' };
const anApp = (worker: Json = {}, spec: Json = {}): Json =>
  stored('InferenceApp', 'ocr', { worker: { ...WORKER, ...worker }, resources: { memory: '1Gi' }, ...spec });
/** As if it had been stored before anybody checked. */
const unchecked = (worker: Json): Json => {
  const app = anApp() as { spec: { worker: Json } };
  return { ...app, spec: { ...app.spec, worker: { ...app.spec.worker, ...worker } } };
};

function setUp(world: World = {}) {
  const { placements = [aPlacement('default')], mayCreatePods = true, dryRun = { problems: [], warnings: [] } } = world;
  const asked: string[] = [];
  const handler = validateInferenceApps({
    placements: {
      get: (name) => placements.find(({ metadata }) => metadata.name === name),
      hasSynced: () => world.synced ?? true,
    },
    lookUp: (name) => {
      asked.push(`look up ${name}`);
      return Promise.resolve((world.really ?? placements).find(({ metadata }) => metadata.name === name));
    },
    images: () => world.images ?? { state: 'absent' },
    tenants: () => world.tenants ?? { state: 'absent' },
    creators: {
      mayCreatePods: (user, namespace) => {
        asked.push(`may ${user.username} create pods in ${namespace}`);
        return mayCreatePods instanceof Error ? Promise.reject(mayCreatePods) : Promise.resolve(mayCreatePods);
      },
    },
    dryRun: {
      tryJob: (_app, namespace) => {
        asked.push(`dry run in ${namespace}`);
        return Promise.resolve(dryRun);
      },
    },
  });
  const review = async (request: AdmissionRequest): Promise<Verdict> => handler(request, new AbortController().signal);
  return { asked, review };
}

const create = (app: Json, world?: World): Promise<Verdict> => setUp(world).review(aReview(app));
const update = (before: Json, after: Json, world?: World): Promise<Verdict> =>
  setUp(world).review(aReview(after, before));
const fields = ({ refusal }: Verdict): [number, string[]] | undefined =>
  refusal && [refusal.code, (refusal.causes ?? []).map(({ field }) => field)];

const HOST = { podTemplate: { spec: { hostNetwork: true } } };
const SECRET = { envFrom: [{ secretRef: { name: 'keys' } }] };

describe('an app', () => {
  it('that asks for nothing special passes in silence, and nobody is asked', async () => {
    const { asked, review } = setUp({ images: IMAGES, tenants: tenants('tenants: [{ name: team }]') });
    expect(await review(aReview(anApp()))).toEqual({});
    expect(asked).toEqual([]);
  });

  it('that nobody has filled with defaults is looked at as one that somebody has', async () => {
    const bare = { ...anApp(), spec: { worker: WORKER } };
    expect(await create(bare)).toEqual(await create(anApp({}, { resources: undefined })));
    const evil = { ...bare, spec: { worker: { ...WORKER, image: 'evil/a:1' } } };
    expect(fields(await create(evil, { images: IMAGES }))).toEqual([422, ['spec.worker.image']]);
    expect((await create({ ...bare, spec: {} })).refusal?.code).toBe(422);
    const { spec: _none, ...nothing } = bare;
    expect((await create(nothing)).refusal?.code).toBe(422);
  });

  it.each<[string, Json, World, string[]]>([
    ['would escape', unchecked(HOST), {}, ['spec.worker.podTemplate.spec.hostNetwork']],
    ['has an image that is not allowed', anApp({ image: 'evil/a:1' }), { images: IMAGES }, ['spec.worker.image']],
    [
      'has one for a placement only',
      anApp({}, { placements: [{ name: 'p', overrides: { image: 'evil/a:1' } }] }),
      { images: IMAGES },
      ['spec.placements[0].overrides.image'],
    ],
    [
      'names a placement that does not take it',
      anApp({}, { placements: [{ name: 'p' }, { name: 'q' }] }),
      { placements: [aPlacement('p'), aPlacement('q', { allowedNamespaces: ['other'] })] },
      ['spec.placements[1].name'],
    ],
    [
      'has a schema that cannot be used',
      anApp({}, { request: { schema: { $ref: 'http://example.com/a' } } }),
      {},
      ['spec.request.schema'],
    ],
    [
      'wants more units than its tenant may have',
      anApp({}, { scaling: { maxUnits: 3 } }),
      { tenants: tenants('tenants: [{ name: team, ceilings: { maxUnits: 2 } }]') },
      ['spec.scaling.maxUnits'],
    ],
    [
      'wants more GPUs than its tenant may have',
      anApp({}, { resources: { memory: 1, gpu: { count: 4 } }, scaling: { maxUnits: 3 } }),
      { tenants: tenants('tenants: [{ name: a, namespace: team, ceilings: { gpusPerUnit: 2, gpus: 8 } }]') },
      ['spec.resources.gpu.count', 'spec.scaling.maxUnits'],
    ],
    [
      'is of nobody in particular and wants more than such may have',
      anApp({}, { scaling: { maxUnits: 2 } }),
      { tenants: tenants('tenants: []\ndefault: { ceilings: { maxUnits: 1 } }') },
      ['spec.scaling.maxUnits'],
    ],
  ])('that %s is refused by the field', async (_what, app, world, paths) => {
    const verdict = await create(app, world);
    expect(fields(verdict)).toEqual([422, paths]);
    expect(verdict.refusal?.message).toMatch(/^InferenceApp "ocr" is invalid: spec\./);
  });

  it.each<[string, readonly Placement[], number | undefined]>([
    ['it was opened', [aPlacement('p')], undefined],
    ['it is gone', [], undefined],
    ['it still is closed', [aPlacement('p', { allowedNamespaces: [] })], 422],
  ])('whose placement is closed as far as is known is looked up again: %s', async (_what, really, code) => {
    const { asked, review } = setUp({ placements: [aPlacement('p', { allowedNamespaces: ['other'] })], really });
    const verdict = await review(aReview(anApp({}, { placements: [{ name: 'p' }] })));
    expect(asked).toEqual(['look up p']);
    expect(verdict.refusal?.code).toBe(code);
  });

  it('has the highest of the ceilings that tenants of its namespace have', async () => {
    const two = tenants(
      'tenants: [{ name: a, namespace: team, ceilings: { maxUnits: 2 } }, { name: b, namespace: team, ceilings: { maxUnits: 4 } }]',
    );
    const units = (maxUnits: number): Promise<Verdict> =>
      create(anApp({}, { scaling: { maxUnits } }), { tenants: two });
    expect((await units(4)).refusal).toBeUndefined();
    expect((await units(5)).refusal).toBeDefined();
  });
});

describe('references of an app', () => {
  it('are for those who may create pods', async () => {
    const { asked, review } = setUp();
    expect((await review(aReview(anApp(SECRET)))).refusal).toBeUndefined();
    expect(asked).toEqual(['may bob create pods in team']);
  });

  it('are refused to others, each by its field', async () => {
    const podTemplate = {
      spec: { serviceAccountName: 'robot', volumes: [{ name: 'a', secret: { secretName: 'b' } }] },
    };
    const verdict = await create(anApp({ ...SECRET, podTemplate }), { mayCreatePods: false });
    expect(fields(verdict)).toEqual([
      403,
      [
        'spec.worker.envFrom[0].secretRef',
        'spec.worker.podTemplate.spec.serviceAccountName',
        'spec.worker.podTemplate.spec.volumes[0].secret',
      ],
    ]);
    expect(verdict.refusal?.message).toContain(
      'Secret "keys" may not be used: user "bob" may not create pods in namespace team',
    );
  });

  it('wait when nobody can be asked', async () => {
    const verdict = await create(anApp(SECRET), { mayCreatePods: new Error('no answer within 3000 ms') });
    expect(verdict.refusal).toMatchObject({ code: 503, message: expect.stringContaining('no answer within 3000 ms') });
  });

  it.each<[string, Json, Json, boolean]>([
    ['scaling', {}, { scaling: { maxUnits: 7 } }, false],
    ['nothing that runs', {}, { request: { timeoutSeconds: 60 } }, false],
    ['the image that would read them', { image: 'ghcr.io/team/a:2' }, {}, true],
    ['the code that would read them', { handler: 'b.ts' }, {}, true],
    ['what runs in a placement', {}, { placements: [{ name: 'default', overrides: { image: 'x:1' } }] }, true],
  ])('are asked about again when an update changes %s', async (_what, worker, spec, asks) => {
    const verdict = await update(anApp(SECRET), anApp({ ...SECRET, ...worker }, spec), { mayCreatePods: false });
    expect(verdict.refusal?.code).toBe(asks ? 403 : undefined);
  });

  it('may be given up by anybody', async () => {
    expect((await update(anApp(SECRET), anApp(), { mayCreatePods: false })).refusal).toBeUndefined();
  });
});

describe('a pod template', () => {
  const podTemplate = { spec: { nodeSelector: { zone: 'a' } } };

  it('is tried when it is new or changes, and not otherwise', async () => {
    const { asked, review } = setUp();
    await review(aReview(anApp({ podTemplate })));
    await review(aReview(anApp({ podTemplate }, { scaling: { maxUnits: 3 } }), anApp({ podTemplate })));
    await review(aReview(anApp({ podTemplate: { spec: { nodeSelector: { zone: 'b' } } } }), anApp({ podTemplate })));
    await review(aReview(anApp({ podTemplate: {} })));
    expect(asked).toEqual(['dry run in team', 'dry run in team']);
  });

  it('is refused for what the API server says of its Job, and not for what keeps it from saying anything', async () => {
    const path = 'spec.worker.podTemplate.spec.nodeSelector';
    const refused = { problems: [{ path, message: 'no', reason: 'FieldValueInvalid' }], warnings: [] } as const;
    expect(fields(await create(anApp({ podTemplate }), { dryRun: refused }))).toEqual([422, [path]]);
    const late = { problems: [], warnings: ['spec.worker.podTemplate: could not be tried'] };
    expect(await create(anApp({ podTemplate }), { dryRun: late })).toEqual({ warnings: late.warnings });
  });
});

describe('an update', () => {
  it('of labels, finalizers or status is nobody’s business, whatever the app is', async () => {
    const broken = unchecked({ ...HOST, ...SECRET, image: 'evil/a' });
    const world = { images: IMAGES, mayCreatePods: false };
    const after = { ...broken, metadata: { name: 'ocr', finalizers: [] }, status: { phase: 'Ready' } };
    expect(await update(broken, after, world)).toEqual({});
  });

  it('of an app that goes is never refused', async () => {
    const going = { ...unchecked(HOST), metadata: { name: 'ocr', deletionTimestamp: '2026-01-01T00:00:00Z' } };
    expect(await update(anApp(), going)).toEqual({});
  });

  it('answers for what it changes, not for what was there before a rule came', async () => {
    const world = { images: IMAGES, tenants: tenants('tenants: [{ name: team, ceilings: { maxUnits: 2 } }]') };
    const before = { ...unchecked({ ...HOST, image: 'evil/a:1' }) } as { spec: Json };
    const old = {
      ...before,
      spec: { ...before.spec, scaling: { maxUnits: 9, concurrency: 1, startupGraceSeconds: 900 } },
    };
    const change = (spec: Json): Json => ({ ...old, spec: { ...old.spec, ...spec } });
    expect((await update(old, change({ desiredState: 'Paused' }), world)).refusal).toBeUndefined();
    expect(
      fields(await update(old, change({ scaling: { maxUnits: 8, concurrency: 1, startupGraceSeconds: 900 } }), world)),
    ).toEqual([422, ['spec.scaling.maxUnits']]);
    expect(
      fields(await update(old, change({ worker: { ...WORKER, ...HOST, instances: 1, image: 'evil/b:1' } }), world)),
    ).toEqual([422, ['spec.worker.image']]);
  });

  it('cannot hide a new fault behind many old ones', async () => {
    const faults = Object.fromEntries(Array.from({ length: 40 }, (_, index) => [`x${index}`, 1]));
    const old = unchecked({ podTemplate: { spec: faults } });
    const other = unchecked({ podTemplate: { spec: faults }, handler: 'b.ts' });
    expect((await update(old, other)).refusal).toBeUndefined();
    const next = unchecked({ podTemplate: { spec: { ...faults, hostNetwork: true } } });
    expect(fields(await update(old, next))).toEqual([422, expect.arrayContaining(['spec.worker.podTemplate'])]);
  });

  it('cannot hide a new reference behind an old fault', async () => {
    const old = unchecked(HOST);
    const verdict = await update(old, unchecked({ ...HOST, ...SECRET }), { mayCreatePods: false });
    expect(fields(verdict)?.[0]).toBe(403);
  });
});

describe('documents that are not known', () => {
  it.each<[string, World]>([
    ['images', { images: UNKNOWN }],
    ['tenants', { tenants: UNKNOWN }],
  ])('make a new app wait: %s', async (_what, world) => {
    expect((await create(anApp(), world)).refusal).toEqual({
      code: 503,
      message: 'InferenceApp "ocr" cannot be checked: nobody has looked yet',
    });
  });

  it('keep nobody from a change that they are not about', async () => {
    const images = await update(anApp(), anApp({}, { scaling: { maxUnits: 3 } }), { images: UNKNOWN });
    expect(images.refusal).toBeUndefined();
    const units = await update(anApp(), anApp({ handler: 'b.ts' }), { tenants: UNKNOWN });
    expect(units.refusal).toBeUndefined();
  });
});

describe('a warning', () => {
  const GPU = { memory: '1Gi', gpu: {} };
  const shared = (slice: Json): Json =>
    anApp({}, { resources: { ...GPU, gpu: { slice } }, placements: [{ name: 'p' }] });
  const sharing = (of: Json): World => ({ placements: [aPlacement('p', { sharing: of })] });

  it.each<[string, Json, World, RegExp | undefined]>([
    ['none', anApp(), {}, undefined],
    ['a tag that floats', anApp({ image: 'ghcr.io/team/a' }), {}, /^spec\.worker\.image: .* may mean another image/],
    ['no image', anApp({ image: undefined }), {}, /^spec\.worker\.image: no unit can start/],
    ['no memory limit', anApp({}, { resources: undefined }), {}, /^spec\.resources\.memory/],
    ['no such placement', anApp({}, { placements: [{ name: 'p' }] }), {}, /^spec\.placements\[0\]\.name: there is no/],
    [
      'no default placement',
      anApp(),
      { placements: [] },
      /^spec\.placements: none is named, and placement default does/,
    ],
    [
      'a default placement for others',
      anApp(),
      { placements: [aPlacement('default', { allowedNamespaces: ['other'] })] },
      /default does not allow namespace team/,
    ],
    ['placements that nobody has listed', anApp(), { synced: false }, /^spec\.placements: could not be looked up/],
    [
      'a short start',
      anApp({}, { resources: GPU, scaling: { startupGraceSeconds: 30 } }),
      {},
      /^spec\.scaling\.startupGr/,
    ],
    [
      'a start that ends before the server may be ready',
      anApp(
        { archetype: 'Sidecar', handler: undefined, server: { port: 80, readyTimeoutSeconds: 1000 } },
        { scaling: { startupGraceSeconds: 900 } },
      ),
      {},
      /^spec\.scaling\.startupGraceSeconds: 900 s end before/,
    ],
    [
      'requests of more than an hour',
      anApp({}, { request: { timeoutSeconds: 7200 } }),
      {},
      /^spec\.request\.timeoutSe/,
    ],
    [
      'a secret in the open',
      anApp({ env: [{ name: 'API_KEY', value: 'x' }] }),
      {},
      /^spec\.worker\.env\[0\]\.value: API_KEY/,
    ],
    ['a tokenizer, which is no token', anApp({ env: [{ name: 'TOKENIZER', value: 'x' }] }), {}, undefined],
    [
      'more units than the tenant keeps busy',
      anApp({}, { scaling: { maxUnits: 4, concurrency: 2 } }),
      { tenants: tenants('tenants: [{ name: team, maxInFlight: 20, appLimits: { ocr: { maxInFlight: 4 } } }]') },
      /^spec\.scaling\.maxUnits: tenant team may have 4 requests running, its units take 8/,
    ],
    [
      'all slots',
      shared({ mode: 'Shared', slots: 4 }),
      sharing({ mode: 'TimeSlicing', slotsPerGPU: 4 }),
      /4 of 4 slots stay/,
    ],
    ['some slots', shared({ mode: 'Shared', slots: 3 }), sharing({ mode: 'TimeSlicing', slotsPerGPU: 4 }), undefined],
    ['no slots', shared({ mode: 'Shared' }), sharing({ mode: 'Exclusive' }), /stays a whole one in placement p/],
    [
      'more memory than there is',
      shared({ mode: 'Shared', memory: '50Gi' }),
      sharing({ mode: 'MPS', slotsPerGPU: 4, memoryPerSlot: '10Gi' }),
      /50Gi are more than 4 slots of 10Gi/,
    ],
    ['instances of no MIG', shared({ mode: 'MIG', profile: '1g.10gb' }), sharing({ mode: 'MPS' }), /shared by MPS/],
    [
      'instances of another profile',
      shared({ mode: 'MIG', profile: '1g.10gb' }),
      sharing({ mode: 'MIG', resourceName: 'nvidia.com/mig-2g.20gb' }),
      /mig-1g\.10gb is not nvidia\.com\/mig-2g\.20gb/,
    ],
    ['whole GPUs by their name', shared({ mode: 'Isolated' }), sharing({ mode: 'MPS' }), undefined],
  ])('is shown for %s', async (_what, app, world, text) => {
    const verdict = await create(app, world);
    expect(verdict.refusal).toBeUndefined();
    const warnings = verdict.warnings ?? [];
    expect(warnings).toHaveLength(text === undefined ? 0 : 1);
    expect(warnings.filter((warning) => text?.test(warning) !== true)).toEqual([]);
  });
});
