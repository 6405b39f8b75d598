// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { isFloating, isImageReference, parseImage } from './image-reference.ts';
import { readImages } from './images.ts';

const A = `sha256:${'a'.repeat(64)}`;
const B = `sha256:${'b'.repeat(64)}`;

const rule = (images: readonly string[], namespaces: readonly string[] = ['team']): string =>
  JSON.stringify({ version: 1, rules: [{ namespaces, images }] });

describe('an image', () => {
  it.each([
    ['busybox', ['docker.io', 'library', 'busybox']],
    ['team/model:1', ['docker.io', 'team', 'model']],
    ['index.docker.io/team/model', ['docker.io', 'team', 'model']],
    ['registry:5000/a/b@sha256:00', ['registry:5000', 'a', 'b']],
    ['localhost/a', ['localhost', 'a']],
    ['ghcr.io/a/b/c:v1', ['ghcr.io', 'a', 'b', 'c']],
    ['docker.io/busybox', ['docker.io', 'library', 'busybox']],
    ['index.docker.io/busybox:1', ['docker.io', 'library', 'busybox']],
    ['Registry/a', ['Registry', 'a']],
    ['[::1]:5000/a', ['[::1]:5000', 'a']],
  ])('%s lies at %j', (image, parts) => {
    expect(parseImage(image).parts).toEqual(parts);
    expect(isImageReference(image)).toBe(!image.includes('@sha256:00'));
  });

  it.each([
    ['the id of an image on the node', `sha256:${'a'.repeat(64)}`],
    ['the same without its algorithm', 'a'.repeat(64)],
    ['a step up', 'docker.io/corp/../evil/x'],
    ['an empty part', 'docker.io/corp//x'],
    ['an upper-case repository', 'ghcr.io/Acme/x'],
    ['a digest that is none', 'ghcr.io/acme/x@sha256:00'],
    ['two digests', `ghcr.io/acme/x@sha256:${'a'.repeat(64)}@sha256:${'b'.repeat(64)}`],
    ['a space', 'ghcr.io/acme/x y'],
    ['an empty tag', 'ghcr.io/acme/x:'],
    ['an endless name', `ghcr.io/${'a/'.repeat(200)}a`],
    ['nothing', ''],
  ])('is not %s', (_what, image) => {
    expect(isImageReference(image)).toBe(false);
    expect(readImages(rule(['**', 'docker.io/library/*']))?.refusal('team', image)).toBe(
      'it is no name of an image in a registry',
    );
  });

  it.each([
    ['busybox', true],
    ['busybox:latest', true],
    ['registry:5000/busybox', true],
    ['busybox:1.37', false],
    ['busybox@sha256:00', false],
    ['busybox:latest@sha256:00', false],
  ])('%s floats: %s', (image, floats) => {
    expect(isFloating(parseImage(image))).toBe(floats);
  });
});

describe('a pattern', () => {
  const allows = (pattern: string, image: string): boolean =>
    readImages(rule([pattern]))?.refusal('team', image) === undefined;

  it.each([
    ['ghcr.io/acme/*', 'ghcr.io/acme/ocr:1', true],
    ['ghcr.io/acme/*', 'ghcr.io/acme/vision/ocr:1', false],
    ['ghcr.io/acme/**', 'ghcr.io/acme/vision/ocr:1', true],
    ['ghcr.io/acme/**', 'ghcr.io/acme', false],
    ['ghcr.io/acme/**', 'ghcr.io/acme2/ocr', false],
    ['ghcr.io/acme/**', 'evil.io/ghcr.io/acme/ocr', false],
    ['ghcr.io/acme/ocr', 'ghcr.io/acme/ocr:9', true],
    ['ghcr.io/acme/ocr:1', 'ghcr.io/acme/ocr:2', false],
    ['ghcr.io/acme/ocr:1.*', 'ghcr.io/acme/ocr:1.7', true],
    ['ghcr.io/acme/ocr:1', `ghcr.io/acme/ocr:1@${A}`, false],
    ['ghcr.io/acme/ocr', `ghcr.io/acme/ocr:1@${A}`, true],
    [`ghcr.io/acme/ocr@${A}`, `ghcr.io/acme/ocr@${A}`, true],
    [`ghcr.io/acme/ocr@${A}`, `ghcr.io/acme/ocr@${B}`, false],
    [`ghcr.io/acme/ocr@${A}`, 'ghcr.io/acme/ocr', false],
    ['docker.io/**', 'Evil/ocr:1', false],
    ['docker.io/library/*', 'docker.io/busybox', true],
    ['docker.io/*', 'busybox', true],
    ['docker.io/**', 'docker.io/team/model', true],
    ['busybox', 'index.docker.io/busybox', true],
    ['ghcr.io/acme/ocr:latest', 'ghcr.io/acme/ocr', true],
    ['*.acme.io/**', 'eu.acme.io/ocr', true],
    ['*.acme.io/**', 'acme.io.evil.io/ocr', false],
    ['busybox', 'docker.io/library/busybox:1', true],
    ['docker.io/library/*', 'busybox', true],
    ['**', 'anything.io/at/all:1', true],
    ['GHCR.io/acme/*', 'ghcr.io/acme/ocr', false],
  ])('%s on %s: %s', (pattern, image, wanted) => {
    expect(allows(pattern, image)).toBe(wanted);
  });
});

describe('rules', () => {
  const policy = readImages(`
version: 1
otherwise: Refuse
rules:
  - { namespaces: [team-a], images: [ghcr.io/a/**] }
  - { namespaces: [team-*], images: [ghcr.io/common/*] }
`);

  it.each([
    ['team-a', 'ghcr.io/a/x', undefined],
    ['team-a', 'ghcr.io/common/x', undefined],
    ['team-a', 'ghcr.io/b/x', 'allowed are ghcr.io/a/**, ghcr.io/common/*'],
    ['team-b', 'ghcr.io/a/x', 'allowed are ghcr.io/common/*'],
    ['other', 'ghcr.io/common/x', 'no image is allowed in this namespace'],
  ])('in %s say of %s: %s', (namespace, image, refusal) => {
    expect(policy?.refusal(namespace, image)).toBe(refusal);
  });

  it('say nothing of namespaces that they do not name, unless told otherwise', () => {
    expect(readImages(rule(['a/b']))?.refusal('other', 'evil/x')).toBeUndefined();
  });

  it('name some of many patterns', () => {
    const images = Array.from({ length: 9 }, (_, index) => `a/b${index}`);
    expect(readImages(rule(images))?.refusal('team', 'x')).toBe('allowed are a/b0, a/b1, a/b2, a/b3, a/b4 and 4 more');
  });
});

describe('a document', () => {
  it('is in the samples', () => {
    const file = new URL('../../config/samples/images.yaml', import.meta.url);
    const { data } = parse(readFileSync(file, 'utf8')) as { data: { 'images.yaml': string } };
    const policy = readImages(data['images.yaml']);
    expect(policy?.refusal('team-a', 'ghcr.io/acme/a/b:1')).toBeUndefined();
    expect(policy?.refusal('team-a', 'vllm/vllm-openai:v0.11.3')).toBeUndefined();
    expect(policy?.refusal('team-a', 'vllm/vllm-openai:v0.12.0')).toBeDefined();
    expect(policy?.refusal('vision', 'ghcr.io/acme/a')).toBeDefined();
    expect(policy?.refusal('other', 'anything')).toBeUndefined();
  });

  it.each([
    ['', undefined],
    ['# nothing yet', undefined],
  ])('%j is none', (text, wanted) => {
    expect(readImages(text)).toBe(wanted);
  });

  it.each([
    ['a: [', 'document: is no YAML; mend line 1: a mapping'],
    ['version: 1\nrules: *b', 'document: is no YAML; mend it: a mapping'],
    ['version: 1\nrules:\n  - namespaces: [a\n', 'document: is no YAML; mend line 4'],
    ['[]', 'document: must be object; write a mapping'],
    ['version: 2\nrules: []', 'version: must be equal to constant; write version: 1'],
    ['version: 1\nrules: []\nimages: []', 'document: unknown field images; known are version, otherwise, rules'],
    ['version: 1\nrules: [{ namespaces: [a] }]', "rules[0]: must have required property 'images'"],
    ['version: 1\nrules: [{ namespaces: [A], images: [a] }]', 'rules[0].namespaces[0]: must match pattern'],
    ['version: 1\nrules: [{ namespaces: [a], images: ["a*b*c"] }]', 'rules[0].images[0]: a*b*c has more than one *'],
    [
      'version: 1\nrules: [{ namespaces: ["a-*-*"], images: [a] }]',
      'rules[0].namespaces[0]: a-*-* has more than one *',
    ],
    ['version: 1\notherwise: Maybe\nrules: []', 'otherwise: must be equal to one of the allowed values; write Allow'],
  ])('%j is refused: %s', (text, message) => {
    expect(() => readImages(text)).toThrow(message);
  });
});
