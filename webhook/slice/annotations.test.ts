// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { readWish } from './annotations.ts';
import { shareOf } from './share.ts';

const GIB = 2 ** 30;
const LONG = 'a-container-whose-name-is-as-long-as-kubernetes-permits-it-to-be';
const CONTAINERS = ['main', 'side', LONG];
const own = (key: string): string => `penstock.dev/${key}`;

describe('annotations that are understood', () => {
  it.each<[string, Record<string, string>, object]>([
    ['nothing', {}, { slice: undefined }],
    ['opt-in', { [own('slice')]: 'true' }, { slice: true }],
    ['opt-out', { [own('slice')]: 'false' }, { slice: false }],
    ['castops opts in', { 'castops.io/optimize': 'true' }, { slice: true }],
    [
      'another value of castops is its own affair',
      { 'castops.io/optimize': 'yes', 'castops.io/slice-ratio': 'x' },
      { slice: undefined },
    ],
    ['opt-out beats castops', { 'castops.io/optimize': 'true', [own('slice')]: 'false' }, { slice: false }],
    ['castops opts out', { 'castops.io/optimize': 'false' }, { slice: false }],
    ['our opt-in beats that opt-out', { 'castops.io/optimize': 'false', [own('slice')]: 'true' }, { slice: true }],
    [
      'castops says the size, we opt in',
      { 'castops.io/slice-ratio': '3', 'castops.io/workload-type': 'training', [own('slice')]: 'true' },
      {
        slice: true,
        size: { kind: 'ratio', ratio: 3, from: 'castops.io/slice-ratio' },
        workloadType: { type: 'training', from: 'castops.io/workload-type' },
      },
    ],
    [
      'castops says the size, a policy may opt in',
      { 'castops.io/slice-ratio': '3' },
      { slice: undefined, size: { kind: 'ratio', ratio: 3, from: 'castops.io/slice-ratio' } },
    ],
    ['dry run', { [own('slice-dry-run')]: 'true' }, { dryRun: true }],
    ['no dry run', { [own('slice-dry-run')]: 'false' }, { dryRun: false }],
    ['a ratio', { [own('slice-ratio')]: '64' }, { size: { kind: 'ratio', ratio: 64, from: own('slice-ratio') } }],
    ['memory', { [own('vram')]: '10Gi' }, { size: { kind: 'vram', bytes: 10 * GIB, from: own('vram') } }],
    [
      'ratio of castops',
      { 'castops.io/optimize': 'true', 'castops.io/slice-ratio': '3' },
      { size: { kind: 'ratio', ratio: 3, from: 'castops.io/slice-ratio' } },
    ],
    [
      'our ratio beats that of castops',
      { 'castops.io/optimize': 'true', 'castops.io/slice-ratio': '3', [own('slice-ratio')]: '2' },
      { size: { kind: 'ratio', ratio: 2, from: own('slice-ratio') } },
    ],
    [
      'our memory beats the ratio of castops',
      { 'castops.io/optimize': 'true', 'castops.io/slice-ratio': '3', [own('vram')]: '1Gi' },
      { size: { kind: 'vram', bytes: GIB, from: own('vram') } },
    ],
    [
      'our workload type beats that of castops',
      { 'castops.io/optimize': 'true', 'castops.io/workload-type': 'training', [own('workload-type')]: 'dev' },
      { workloadType: { type: 'dev', from: own('workload-type') } },
    ],
    [
      'other keys of the domain',
      { [own('retired')]: 'x', [own('slice-status')]: 'y', [own('sliced')]: 'z' },
      { slice: undefined },
    ],
    ['keys of other domains', { 'example.com/slice': 'x', plain: 'y' }, { slice: undefined }],
    ['nothing is read after an opt-out', { [own('slice')]: 'false', [own('slice-ratio')]: 'x' }, { slice: false }],
  ])('%s', (_, annotations, expected) => {
    const wish = readWish(annotations, CONTAINERS);
    expect(wish).toMatchObject(expected);
    expect(wish.causes).toEqual([]);
  });

  it('takes sizes of single containers in both forms, the same size twice too', () => {
    const wish = readWish(
      {
        [own('slice-ratio.main')]: '2',
        'main.slice.penstock.dev/ratio': '2',
        [`${LONG}.slice.penstock.dev/vram`]: '1Gi',
        [own('vram.side')]: '512Mi',
      },
      CONTAINERS,
    );
    expect(wish.causes).toEqual([]);
    expect([...wish.sizes].map(([name, size]) => [name, size.kind === 'ratio' ? size.ratio : size.bytes])).toEqual([
      ['main', 2],
      [LONG, GIB],
      ['side', GIB / 2],
    ]);
  });
});

describe('annotations that are refused', () => {
  const ratio = 'must be a whole number from 1 to 64: the slots to be had';
  it.each<[string, string, string, string]>([
    [own('slice'), 'yes', 'FieldValueNotSupported', 'is "yes", must be "true" or "false"'],
    [own('slice'), '', 'FieldValueNotSupported', 'is "", must be "true" or "false"'],
    [own('slice'), 'True', 'FieldValueNotSupported', 'is "True", must be "true" or "false"'],
    [own('slice-dry-run'), '1', 'FieldValueNotSupported', 'is "1", must be "true" or "false"'],
    [own('slice-ratio'), '0', 'FieldValueInvalid', `is "0", ${ratio}`],
    [own('slice-ratio'), '65', 'FieldValueInvalid', `is "65", ${ratio}`],
    [own('slice-ratio'), '1.5', 'FieldValueInvalid', `is "1.5", ${ratio}`],
    [own('slice-ratio'), '-1', 'FieldValueInvalid', `is "-1", ${ratio}`],
    [own('slice-ratio'), ' 2', 'FieldValueInvalid', `is " 2", ${ratio}`],
    [own('slice-ratio'), '02', 'FieldValueInvalid', `is "02", ${ratio}`],
    [own('slice-ratio.main'), 'x', 'FieldValueInvalid', `is "x", ${ratio}`],
    [own('vram'), 'lots', 'FieldValueInvalid', 'is "lots", must be a quantity from 1Mi to 1Pi, such as 10Gi'],
    [own('vram'), '10', 'FieldValueInvalid', 'is "10", must be a quantity from 1Mi to 1Pi, such as 10Gi'],
    [own('vram'), '-10Gi', 'FieldValueInvalid', 'is "-10Gi", must be a quantity from 1Mi to 1Pi, such as 10Gi'],
    [own('vram'), '2Pi', 'FieldValueInvalid', 'is "2Pi", must be a quantity from 1Mi to 1Pi, such as 10Gi'],
    [
      own('workload-type'),
      'Training',
      'FieldValueNotSupported',
      'is "Training", must be one of training, inference, batch, dev',
    ],
    [
      own('slice-ration'),
      '2',
      'FieldValueNotSupported',
      'is not an annotation of Penstock; did you mean penstock.dev/slice-ratio?',
    ],
    [own('vrams'), '2', 'FieldValueNotSupported', 'is not an annotation of Penstock; did you mean penstock.dev/vram?'],
    [
      own('Slice'),
      'true',
      'FieldValueNotSupported',
      'is not an annotation of Penstock; did you mean penstock.dev/slice?',
    ],
    [
      own('Slice-Ratio'),
      '2',
      'FieldValueNotSupported',
      'is not an annotation of Penstock; did you mean penstock.dev/slice-ratio?',
    ],
    [own('slice-ratio.mian'), '2', 'FieldValueNotFound', `the pod has no container "mian"; it has main, side, ${LONG}`],
    [
      'mian.slice.penstock.dev/ratio',
      '2',
      'FieldValueNotFound',
      `the pod has no container "mian"; it has main, side, ${LONG}`,
    ],
    [
      'main.slice.penstock.dev/ratoi',
      '2',
      'FieldValueNotSupported',
      'is not an annotation of Penstock; did you mean main.slice.penstock.dev/ratio?',
    ],
  ])('%s: %j', (key, value, reason, message) => {
    expect(readWish({ [key]: value }, CONTAINERS).causes).toEqual([
      { field: `metadata.annotations[${key}]`, reason, message },
    ]);
  });

  it.each([
    ['silce-ratio', 'slice-ratio'],
    ['ratio', 'slice-ratio'],
    ['dry-run', 'slice-dry-run'],
    ['Vram', 'vram'],
  ])('%s is doubted or refused: %s was meant', (name, meant) => {
    const { causes, doubts } = readWish({ [own(name)]: '2' }, CONTAINERS);
    const text = [...causes.map(({ message }) => message), ...doubts].join();
    expect(text).toContain(`is not an annotation of Penstock; did you mean ${own(meant)}?`);
  });

  it.each(['retired', 'retire-reason', 'app', 'app-uid', 'unit', 'revision', 'placement', 'pricing', 'team'])(
    '%s is nothing of slices',
    (name) => expect(readWish({ [own(name)]: '2' }, CONTAINERS)).toMatchObject({ causes: [], doubts: [] }),
  );

  it.each<[string, string, string]>([
    ['castops.io/optimize', 'TRUE', 'understood: "true", "false"'],
    ['castops.io/slice-ratio', 'x', 'understood: 1 to 64'],
    ['castops.io/workload-type', 'Training', 'understood: training, inference, batch, dev'],
  ])('a bad value of %s, where nobody opts in by it, is doubted only', (key, value, known) => {
    const { causes, doubts } = readWish({ [key]: value }, CONTAINERS);
    expect([causes, doubts]).toEqual([[], [`${key} is "${value}", which counts for nothing here; ${known}`]]);
    expect(readWish({ [key]: value, [own('slice')]: 'false' }, CONTAINERS).doubts).toEqual([]);
  });

  it('a bad value of castops, where its own opt-in stands beside it', () => {
    const annotations = { 'castops.io/optimize': 'true', 'castops.io/workload-type': 'web' };
    expect(readWish(annotations, CONTAINERS).causes).toEqual([
      {
        field: 'metadata.annotations[castops.io/workload-type]',
        reason: 'FieldValueNotSupported',
        message: 'is "web", must be one of training, inference, batch, dev',
      },
    ]);
  });

  it.each<[string, Record<string, string>, string]>([
    ['of the pod', { [own('slice-ratio')]: '2', [own('vram')]: '1Gi' }, `contradicts ${own('slice-ratio')}`],
    [
      'of a container',
      { [own('slice-ratio.main')]: '2', [own('vram.main')]: '1Gi' },
      `contradicts ${own('slice-ratio.main')}`,
    ],
    [
      'in its two forms',
      { [own('vram.main')]: '2Gi', 'main.slice.penstock.dev/vram': '1Gi' },
      `contradicts ${own('vram.main')}`,
    ],
  ])('a contradiction %s', (_, annotations, message) => {
    const { causes } = readWish(annotations, CONTAINERS);
    expect(causes).toHaveLength(1);
    expect(causes[0]).toMatchObject({
      reason: 'FieldValueForbidden',
      message: expect.stringContaining(message) as string,
    });
  });

  it('shows the start of a long value, and no more than sixteen causes', () => {
    const many = Object.fromEntries(Array.from({ length: 40 }, (_, index) => [own(`slice-ratio.c${index}`), '1']));
    expect(readWish(many, CONTAINERS).causes).toHaveLength(16);
    const names = Array.from({ length: 500 }, (_, index) => `name-${index}`);
    const { causes } = readWish(many, names);
    expect(causes).toHaveLength(16);
    expect(causes[0]?.message).toMatch(/name-15 and 484 more$/);
    expect(readWish({ [own('vram')]: 'x'.repeat(10_000) }, CONTAINERS).causes[0]?.message.length).toBeLessThan(200);
  });
});

describe('the size of a container', () => {
  const policy = { rule: 'dev-teams', action: 'slice' } as const;
  it.each<[string, Record<string, string>, object | undefined, number | string]>([
    ['one slot where nothing is said', {}, undefined, 1],
    ['policy ratio', {}, { ratio: 3 }, 3],
    ['policy memory', {}, { vram: GIB }, '1073741824 by policy rule dev-teams'],
    ['policy workload type', {}, { workloadType: 'batch' }, 2],
    ['a policy that only enrols', {}, {}, 1],
    ['training beats the policy', { [own('workload-type')]: 'training' }, { ratio: 3 }, 4],
    ['inference', { [own('workload-type')]: 'inference' }, undefined, 2],
    ['batch', { [own('workload-type')]: 'batch' }, undefined, 2],
    ['dev', { [own('workload-type')]: 'dev' }, { ratio: 3 }, 1],
    [
      'a ratio beats the workload type',
      { [own('workload-type')]: 'training', [own('slice-ratio')]: '5' },
      { ratio: 3 },
      5,
    ],
    [
      'memory beats the workload type',
      { [own('workload-type')]: 'training', [own('vram')]: '1Gi' },
      undefined,
      '1073741824 by penstock.dev/vram',
    ],
    [
      'the ratio of castops beats our workload type',
      { 'castops.io/optimize': 'true', 'castops.io/slice-ratio': '6', [own('workload-type')]: 'dev' },
      undefined,
      6,
    ],
    [
      'its own ratio beats that of the pod',
      { [own('slice-ratio')]: '2', [own('slice-ratio.main')]: '3' },
      undefined,
      3,
    ],
    [
      'its own memory beats the ratio of the pod',
      { [own('slice-ratio')]: '2', [own('vram.main')]: '1Gi' },
      undefined,
      '1073741824 by penstock.dev/vram.main',
    ],
    ["another container's is not its own", { [own('slice-ratio')]: '2', [own('slice-ratio.side')]: '3' }, undefined, 2],
  ])('%s', (_, annotations, rule, expected) => {
    const wish = readWish(annotations, CONTAINERS);
    expect(wish.causes).toEqual([]);
    const size = shareOf('main', wish, rule && { ...policy, ...rule });
    expect(size.kind === 'ratio' ? size.ratio : `${size.bytes} by ${size.from}`).toBe(expected);
  });
});

it('what is refused is told in little, however much was written', () => {
  const long = 'x'.repeat(50_000);
  const annotations = Object.fromEntries(
    Array.from({ length: 16 }, (_, index) => [`${index}${long}.slice.penstock.dev/${long}`, long]),
  );
  const { causes } = readWish({ 'penstock.dev/slice': 'true', ...annotations }, [long]);
  expect(causes).toHaveLength(16);
  expect(JSON.stringify(causes).length).toBeLessThan(16 * 1500);
  const { causes: named } = readWish({ 'penstock.dev/slice': 'true', 'penstock.dev/vram.other': '1Gi' }, [long]);
  expect(JSON.stringify(named).length).toBeLessThan(1500);
});
