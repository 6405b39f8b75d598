// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { OBJECTS } from '#crds/names.ts';
import { readPolicyDocument } from './policy-document.ts';
import { PolicyError } from './policy-error.ts';
import { POLICY_KEY } from './policy-store.ts';

const EVERYTHING = `
version: 1
gpuResource: nvidia.com/gpu
sharedResources:
  - { name: nvidia.com/gpu.shared, mode: TimeSlicing, failRequestsGreaterThanOne: true, slotsPerGPU: 4, memoryPerSlot: 20Gi }
  - { name: nvidia.com/mig-1g.10gb, mode: MIG, memoryPerSlot: "10000000000" }
  - { name: nvidia.com/gpu, packsOnOneCard: true }
rules:
  - name: no-training
    namespaceSelector: { matchLabels: { team: training } }
    action: ignore
  - name: notebooks
    namespaceSelector:
      matchExpressions:
        - { key: kubernetes.io/metadata.name, operator: NotIn, values: [kube-system] }
        - { key: team, operator: Exists }
    podSelector: { matchLabels: { app: notebook, empty: "" } }
    action: slice
    vram: 8Gi
    dryRun: true
  - { name: dev, action: slice, workloadType: dev }
delivery:
  strategy: auto
  betaImageVolumes: true
  namespaces: [{ namespaceSelector: { matchLabels: { policy: strict } }, strategy: init }]
tolerations: [{ key: nvidia.com/gpu, operator: Exists, effect: NoSchedule }, { operator: Exists }]
nodeRequirements: [{ key: nvidia.com/gpu.memory, operator: Gt, values: ["20000"] }]
`;

const rule = (fields: string): string => `version: 1\nrules: [{ name: a, action: slice, ${fields} }]`;

function errorOf(text: string): PolicyError {
  try {
    readPolicyDocument(text);
  } catch (err) {
    if (err instanceof PolicyError) return err;
    throw err;
  }
  throw new Error('it was taken');
}

describe('the document of the slicing policy', () => {
  test.each([EVERYTHING, 'version: 1', 'version: 1\nrules: []', '{"version": 1}'])('is taken: %j', (text) => {
    expect(readPolicyDocument(text).version).toBe(1);
  });

  test('that comes with the product is taken, and means something', () => {
    const sample = readFileSync(new URL('../../config/samples/slicing.yaml', import.meta.url), 'utf8');
    const { metadata, data } = parse(sample) as { metadata: { name: string }; data: Record<string, string> };
    expect(metadata.name).toBe(OBJECTS.slicingConfigMap);
    expect(readPolicyDocument(data[POLICY_KEY] ?? '').rules).toHaveLength(3);
  });

  test.each([
    ['nothing in it', '# later\n', 'document', 'is empty', 'write at least version: 1'],
    ['no YAML', 'version: [1', 'document', 'is no YAML', 'mend its syntax'],
    ['a key twice', 'version: 1\nversion: 1', 'document', 'key "version" is there twice', 'mend its syntax'],
    ['a key twice in a rule', rule('ratio: 1, ratio: 2'), 'document', 'key "ratio" is there twice', 'mend its syntax'],
    ['brackets without end', '['.repeat(90_000), 'document', 'is no YAML', 'mend its syntax'],
    ['not a mapping', '- version: 1', 'document', 'must be object', 'write a mapping with version'],
    ['no version', 'rules: []', 'document', 'lacks version', 'version'],
    ['another version', 'version: 2', 'version', 'is 2', 'write 1'],
    ['a misspelt field', 'version: 1\nrule: []', 'document', 'unknown field "rule"', 'did you mean rules?'],
    ['a field of nowhere', 'version: 1\nfoobarbaz: 1', 'document', 'unknown field', 'known are version, gpuResource'],
    ['a misspelt field of a rule', rule('ration: 2'), 'rules[0]', 'unknown field "ration"', 'did you mean ratio?'],
    ['a ratio of 0', rule('ratio: 0'), 'rules[0].ratio', 'must be >= 1', 'write an integer from 1 to 64'],
    ['a ratio in quotes', rule('ratio: "2"'), 'rules[0].ratio', 'must be integer', 'write an integer from 1 to 64'],
    ['two sizes', rule('ratio: 2, vram: 4Gi'), 'rules[0].vram', 'contradicts ratio', 'write one of'],
    ['memory of no unit', rule('vram: 10GB'), 'rules[0].vram', 'is "10GB"', 'write an amount of memory such as 10Gi'],
    ['memory that is too little', rule('vram: "10"'), 'rules[0].vram', 'is "10"', 'write at least 1Mi'],
    [
      'an unknown action',
      'version: 1\nrules: [{name: a, action: Slice}]',
      'rules[0].action',
      'is "Slice"',
      'slice or ignore',
    ],
    ['a rule without a name', 'version: 1\nrules: [{action: slice}]', 'rules[0]', 'lacks name', 'write a mapping'],
    [
      'two rules of one name',
      'version: 1\nrules: [{name: a, action: slice}, {name: b, action: slice}, {name: a, action: ignore}]',
      'rules[2].name',
      'first in rules[0]',
      'a name of its own',
    ],
    [
      'a size without use',
      'version: 1\nrules: [{name: a, action: ignore, ratio: 2}]',
      'rules[0].ratio',
      'no meaning',
      'leave it out',
    ],
    [
      'a dry run without use',
      'version: 1\nrules: [{name: a, action: ignore, dryRun: true}]',
      'rules[0].dryRun',
      'no meaning',
      'leave it out',
    ],
    [
      'a label that is true',
      rule('podSelector: { matchLabels: { gpu: true } }'),
      'rules[0].podSelector.matchLabels.gpu',
      'must be string',
      'in quotes where it is a number, true or false',
    ],
    [
      'a label whose key has a slash',
      rule('podSelector: { matchLabels: { "example.com/a": 1 } }'),
      'rules[0].podSelector.matchLabels.example.com/a',
      'must be string',
      'in quotes',
    ],
    [
      'a key that is no label',
      rule('podSelector: { matchLabels: { "a b": c } }'),
      'rules[0].podSelector.matchLabels."a b"',
      'is "a b"',
      'write the key of a label',
    ],
    [
      'In without values',
      rule('podSelector: { matchExpressions: [{ key: a, operator: In }] }'),
      'rules[0].podSelector.matchExpressions[0].values',
      'is empty with In',
      'write at least one value',
    ],
    [
      'Exists with values',
      rule('namespaceSelector: { matchExpressions: [{ key: a, operator: Exists, values: [b] }] }'),
      'rules[0].namespaceSelector.matchExpressions[0].values',
      'no meaning with Exists',
      'leave it out',
    ],
    [
      'an operator of nodes in a selector',
      rule('podSelector: { matchExpressions: [{ key: a, operator: Gt, values: ["1"] }] }'),
      'rules[0].podSelector.matchExpressions[0].operator',
      'is "Gt"',
      'write In, NotIn, Exists or DoesNotExist',
    ],
    [
      'Gt with a word',
      'version: 1\nnodeRequirements: [{ key: a, operator: Gt, values: [big] }]',
      'nodeRequirements[0].values',
      'does not fit Gt',
      'write one whole number',
    ],
    [
      'a resource without a domain',
      'version: 1\ngpuResource: gpu',
      'gpuResource',
      'is "gpu"',
      'such as nvidia.com/gpu.shared',
    ],
    [
      'a shared resource twice',
      'version: 1\nsharedResources: [{name: a.b/c}, {name: a.b/c}]',
      'sharedResources[1].name',
      'is there twice',
      'a name of its own',
    ],
    [
      'an unknown strategy',
      'version: 1\ndelivery: { strategy: csi }',
      'delivery.strategy',
      'is "csi"',
      'write auto, image or init',
    ],
    [
      'a toleration of nothing',
      'version: 1\ntolerations: [{ value: a }]',
      'tolerations[0].operator',
      'must be Exists',
      'write Exists, or a key',
    ],
    [
      'seconds of another effect',
      'version: 1\ntolerations: [{ key: a, effect: NoSchedule, tolerationSeconds: 5 }]',
      'tolerations[0].tolerationSeconds',
      'NoExecute only',
      'leave it out',
    ],
    [
      'too many rules',
      `version: 1\nrules: [${'{name: a, action: slice},'.repeat(201)}]`,
      'rules',
      'must NOT have more than 200',
      'at most 200',
    ],
    ['a text without end', `version: 1 # ${'x'.repeat(100_000)}`, 'document', 'characters', 'write at most'],
  ])('is refused for %s', (_name, text, field, problem, fix) => {
    const err = errorOf(text);
    expect([err.field, err.problem, err.fix]).toEqual([
      field,
      expect.stringContaining(problem),
      expect.stringContaining(fix),
    ]);
    expect(err.message).toBe(`${err.field}: ${err.problem}; ${err.fix}`);
    expect(err.message.length).toBeLessThan(600);
  });

  test('aliases that grow are no document', () => {
    const bomb = ['version: &a [1,1,1,1,1,1,1,1,1]'];
    for (let i = 0; i < 8; i++) bomb.push(`k${i}: &${'bcdefghi'[i]} [${`*${'abcdefgh'[i]},`.repeat(9)}]`);
    expect(errorOf(bomb.join('\n')).problem).toContain('is no YAML');
  });
});
