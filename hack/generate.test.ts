// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { INFERENCE_APP_RULES, PLACEMENT_RULES } from '#crds/shapes.gen.ts';
import { INFERENCE_APP_TWINS } from '#crds/inference-app-rules.ts';
import * as names from '#crds/names.ts';
import { PLACEMENT_TWINS } from '#crds/placement-rules.ts';
import { CRD_FILES, loadCrd } from './generate-schema.ts';
import type { Schema } from './generate-schema.ts';
import { generate } from './generate.ts';

const root = new URL('../', import.meta.url);
const crds = CRD_FILES.map((file) => loadCrd(root, file));

interface Located {
  path: string;
  schema: Schema;
}

function nodes(schema: Schema, path: string): Located[] {
  return [
    { path, schema },
    ...Object.entries(schema.properties ?? {}).flatMap(([key, sub]) => nodes(sub, `${path}.${key}`)),
    ...(schema.items ? nodes(schema.items, `${path}[]`) : []),
    ...(schema.additionalProperties ? nodes(schema.additionalProperties, `${path}{}`) : []),
  ];
}

const all = crds.flatMap(({ kind, schema }) => nodes(schema, kind));
const own = all.filter(({ path }) => !/^\w+\.(metadata|apiVersion|kind)\b/.test(path));
const wrong = (broken: (schema: Schema) => boolean, from = own): string[] =>
  from.filter(({ schema }) => broken(schema)).map(({ path }) => path);

test('what is checked in is what the manifests give, twice over', () => {
  const first = generate();
  expect([...generate()]).toEqual([...first]);
  const stale = [...first].filter(([path, text]) => readFileSync(new URL(path, root), 'utf8') !== text);
  expect(stale.map(([path]) => path)).toEqual([]);
});

test('generated code says so and needs no AJV at run time', () => {
  const bad = [...generate()].filter(
    ([, text]) => !text.includes('DO NOT EDIT') || /require\(|^import (?!type).*ajv/m.test(text),
  );
  expect(bad.map(([path]) => path)).toEqual([]);
});

describe('every field', () => {
  test('has a description that is a sentence', () => {
    const fields = all.filter(({ path }) => !path.includes('.metadata'));
    expect(wrong(({ description }) => !/^['A-Z0-9].*\.$/s.test(description ?? ''), fields)).toEqual([]);
  });

  test('is bounded', () => {
    expect(wrong(({ type, maxLength, enum: list }) => type === 'string' && !maxLength && !list)).toEqual([]);
    expect(wrong(({ type, minimum, maximum }) => type === 'integer' && (minimum ?? maximum) === undefined)).toEqual([]);
    expect(wrong(({ items, maxItems }) => !!items && !maxItems)).toEqual([]);
    expect(wrong(({ additionalProperties, maxProperties }) => !!additionalProperties && !maxProperties)).toEqual([]);
  });

  test('that is a list says how it merges; lists in which order counts are atomic', () => {
    expect(wrong(({ items, 'x-kubernetes-list-type': list }) => !!items && !list)).toEqual([]);
    const ordered = ['InferenceApp.spec.placements', 'Placement.spec.kubernetes.nodeSelectors'];
    const atomic = own.filter(({ schema }) => schema['x-kubernetes-list-type'] === 'atomic').map(({ path }) => path);
    expect(atomic).toEqual(expect.arrayContaining(ordered));
  });

  test('is never nullable, which clashes with merge patches', () => {
    expect(wrong(({ nullable }) => nullable === true)).toEqual([]);
  });
});

describe('patterns and formats on which Go and JavaScript agree', () => {
  // Literals, \. and escaped slashes, ASCII classes without shorthands, groups, bounded counts, anchors at the ends.
  const literal = String.raw`[a-zA-Z0-9:; /@_=-]|\\[./]`;
  const charClass = String.raw`\[(?!\^)[a-zA-Z0-9 ._:/@%~!$&()*+,;=?#^-]+\]`;
  const safe = new RegExp(String.raw`^(${literal}|${charClass}|\((?!\?)|[)|]|[*+?]|\{\d{1,3}(,\d{1,3})?\})*$`);
  const inRules = [...INFERENCE_APP_RULES, ...PLACEMENT_RULES].flatMap(({ rule }) =>
    [...rule.matchAll(/matches\('([^']+)'\)/g)].map((match) => match[1] ?? ''),
  );
  const patterns = [...new Set([...all.flatMap(({ schema }) => schema.pattern ?? []), ...inRules])];

  test.each(patterns)('%s', (pattern) => {
    expect(pattern).toMatch(/^\^.*\$$/s);
    expect(pattern.slice(1, -1)).toMatch(safe);
    expect(() => new RegExp(pattern, 'u')).not.toThrow();
  });

  test('the check itself refuses what they read differently', () => {
    const bad = ['a.b', String.raw`\d`, String.raw`\s`, '(?i)a', '[^a]', 'é', String.raw`(a)\1`, '(?=a)', 'a$b'];
    expect(bad.filter((pattern) => safe.test(pattern))).toEqual([]);
  });

  test('no format but integers within exact doubles, and times that a pattern narrows', () => {
    const formats = new Set(own.flatMap(({ schema }) => schema.format ?? []));
    expect([...formats].sort()).toEqual(['date-time', 'int32', 'int64']);
    expect(wrong(({ format, pattern }) => format === 'date-time' && !pattern)).toEqual([]);
    const edge = { int32: 2 ** 31 - 1, int64: Number.MAX_SAFE_INTEGER };
    expect(
      wrong(({ format, maximum = Infinity, minimum = -Infinity }) =>
        format === 'int32' || format === 'int64' ? maximum > edge[format] || minimum < -edge[format] : false,
      ),
    ).toEqual([]);
  });
});

describe('CEL rules', () => {
  test('have one twin each, and no twin is left over', () => {
    const rules = (list: readonly { rule: string }[]): string[] => [...new Set(list.map(({ rule }) => rule))].sort();
    expect(Object.keys(INFERENCE_APP_TWINS).sort()).toEqual(rules(INFERENCE_APP_RULES));
    expect(Object.keys(PLACEMENT_TWINS).sort()).toEqual(rules(PLACEMENT_RULES));
  });

  test('that look at the old value are not below a list, where the twin has none', () => {
    const transitions = [...INFERENCE_APP_RULES, ...PLACEMENT_RULES].filter(({ rule }) => rule.includes('oldSelf'));
    expect(transitions.map(({ at }) => at)).toEqual(['spec.worker.archetype']);
  });

  test('agree with the names in crds/names.ts', () => {
    const text = CRD_FILES.map((file) => readFileSync(new URL(file, root), 'utf8')).join('\n');
    expect(text).toContain(`in [${names.RESERVED_APP_NAMES.map((name) => `'${name}'`).join(', ')}])`);
    expect(text).toContain(`startsWith('${names.RESERVED_ENV_PREFIX}')`);
    expect(text).toContain(`self.name != '${names.VISIBLE_DEVICES.variable}'`);
    expect(text).toContain(`self.value in [${names.VISIBLE_DEVICES.harmless.map((value) => `'${value}'`).join(', ')}]`);
    expect(text).toContain(`maxLength: ${names.MAX_NAME_LENGTH}\n`);
    expect(text).toContain(names.GPU.resource);
    expect(text).toContain(names.GPU.typeLabel);
    expect(crds.map(({ kind, plural, scope }) => ({ kind, plural, namespaced: scope === 'Namespaced' }))).toEqual(
      Object.values(names.RESOURCES),
    );
  });
});
