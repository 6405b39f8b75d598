// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ConfigError, envName, loadConfig } from './config.ts';
import type { ConfigSchema, ConfigSources } from './config.ts';

interface Settings {
  readonly redisUrl: string;
  readonly port: number;
  readonly strict: boolean;
}

const SCHEMA: ConfigSchema<Settings> = {
  type: 'object',
  additionalProperties: false,
  required: ['redisUrl'],
  properties: {
    redisUrl: { type: 'string' },
    port: { type: 'integer', default: 8080, minimum: 1, maximum: 65535 },
    strict: { type: 'boolean', default: false },
  },
};

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'penstock-config-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

function fileWith(text: string): string {
  const file = join(folder, 'settings.yaml');
  writeFileSync(file, text);
  return file;
}

describe('precedence', () => {
  test.each<[string, () => ConfigSources, Partial<Settings>]>([
    [
      'a default stands when nothing is set',
      () => ({ env: { PENSTOCK_REDIS_URL: 'r' } }),
      { port: 8080, strict: false },
    ],
    ['the file wins over the default', () => ({ file: fileWith('redisUrl: r\nport: 1\n'), env: {} }), { port: 1 }],
    [
      'the environment wins over the file',
      () => ({ file: fileWith('redisUrl: r\nport: 1\n'), env: { PENSTOCK_PORT: '2', PENSTOCK_STRICT: 'true' } }),
      { port: 2, strict: true },
    ],
    [
      'a flag wins over the environment',
      () => ({ env: { PENSTOCK_REDIS_URL: 'r', PENSTOCK_PORT: '2' }, flags: { port: 3 } }),
      { port: 3 },
    ],
    [
      'a flag that is not given changes nothing',
      () => ({ env: { PENSTOCK_REDIS_URL: 'r' }, flags: { port: undefined } }),
      { port: 8080 },
    ],
    [
      'an empty file is no settings',
      () => ({ file: fileWith(''), env: { PENSTOCK_REDIS_URL: 'r' } }),
      { redisUrl: 'r' },
    ],
    [
      'variables that are not settings of this process are left alone',
      () => ({ env: { PENSTOCK_REDIS_URL: 'r', PENSTOCK_OTHER: 'x' } }),
      { redisUrl: 'r' },
    ],
  ])('%s', (_name, sources, want) => {
    expect(loadConfig(SCHEMA, sources())).toMatchObject(want);
  });
});

describe('what is wrong is named', () => {
  test.each<[string, () => ConfigSources, string, RegExp]>([
    ['an unknown key in the file', () => ({ file: fileWith('redisURL: r\n'), env: {} }), 'redisURL', /unknown setting/],
    ['a missing setting', () => ({ env: {} }), 'redisUrl', /PENSTOCK_REDIS_URL/],
    ['text for a number', () => ({ env: { PENSTOCK_REDIS_URL: 'r', PENSTOCK_PORT: 'x' } }), 'port', /must be a number/],
    ['an empty number', () => ({ env: { PENSTOCK_REDIS_URL: 'r', PENSTOCK_PORT: '' } }), 'port', /must be a number/],
    [
      'yes for a boolean',
      () => ({ env: { PENSTOCK_REDIS_URL: 'r', PENSTOCK_STRICT: 'yes' } }),
      'strict',
      /true or false/,
    ],
    ['a number out of range', () => ({ env: { PENSTOCK_REDIS_URL: 'r', PENSTOCK_PORT: '0' } }), 'port', />= 1/],
    ['a list instead of settings', () => ({ file: fileWith('- a\n'), env: {} }), 'settings.yaml', /mapping/],
    ['YAML that is none', () => ({ file: fileWith('a: [\n'), env: {} }), 'settings.yaml', /YAML/],
    ['a file that is not there', () => ({ file: '/nonexistent.yaml', env: {} }), '/nonexistent.yaml', /read/],
  ])('%s', (_name, sources, path, message) => {
    let thrown: unknown;
    try {
      loadConfig(SCHEMA, sources());
    } catch (err) {
      thrown = err;
    }
    expect(thrown).toBeInstanceOf(ConfigError);
    expect((thrown as ConfigError).path).toContain(path);
    expect((thrown as ConfigError).message).toMatch(message);
  });
});

test('names of variables follow names of settings', () => {
  expect(envName('redisUrl')).toBe('PENSTOCK_REDIS_URL');
  expect(envName('port')).toBe('PENSTOCK_PORT');
});
