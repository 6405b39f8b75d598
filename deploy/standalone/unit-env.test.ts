// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { loadUnitConfig } from '#worker/config.ts';
import { anApp } from './testing.ts';
import { unitEnv } from './unit-env.ts';

const FILES = {
  brokerUrl: 'http://127.0.0.1:9000',
  tokenFile: '/data/units/ocr-1/token',
  readyFile: '/data/units/ocr-1/ready',
  logLevel: 'info',
};

function envOf(
  worker: Readonly<Record<string, unknown>>,
  spec: Readonly<Record<string, unknown>> = {},
  inherited: NodeJS.ProcessEnv = {},
): Record<string, string> {
  const app = anApp(worker, spec);
  return unitEnv({ unit: 'ocr-1', app, appUid: 'u', revision: 'r', placement: 'local' }, FILES, inherited);
}

const handler = { archetype: 'Handler', handler: 'ocr.ts' };
const sidecar = { archetype: 'Sidecar', command: ['serve', '--fast'], server: { port: 9001 } };

describe('what a unit’s runtime reads from it', () => {
  test('a Handler app', () => {
    const scaling = { concurrency: 6, maxJobs: 100, startupGraceSeconds: 120 };
    const config = loadUnitConfig(envOf({ ...handler, batchSize: 3, instances: 2 }, { scaling }), []);
    expect(config).toMatchObject({
      brokerUrl: 'http://127.0.0.1:9000',
      unitTokenFile: '/data/units/ocr-1/token',
      readyFile: '/data/units/ocr-1/ready',
      archetype: 'Handler',
      handler: 'ocr.ts',
      batchSize: 3,
      instances: 2,
      concurrency: 6,
      maxJobs: 100,
      readyTimeoutSeconds: 120,
      parentPipe: true,
      command: '',
    });
  });

  test('a Sidecar app: its command with its arguments, as words that no shell reads', () => {
    const args = ['--name', 'two words; $(rm -rf /)', '"'];
    const server = { port: 9001, path: '/v2?x=1', method: 'PUT', contentType: 'text/plain', healthPath: '/up' };
    const config = loadUnitConfig(envOf({ ...sidecar, args, server: { ...server, readyTimeoutSeconds: 5 } }), []);
    expect(JSON.parse(config.command)).toEqual(['serve', '--fast', ...args]);
    expect(config).toMatchObject({
      serverPort: 9001,
      serverPath: '/v2?x=1',
      serverMethod: 'PUT',
      serverContentType: 'text/plain',
      serverHealthPath: '/up',
      readyTimeoutSeconds: 5,
    });
  });

  test('the overrides of the placement called local, and of no other', () => {
    const placements = [
      { name: 'cloud', overrides: { args: ['--gpu'], env: [{ name: 'WHERE', value: 'cloud' }] } },
      { name: 'local', overrides: { args: ['--cpu'], env: [{ name: 'WHERE', value: 'here' }] } },
    ];
    const env = envOf({ ...sidecar, args: ['--any'], env: [{ name: 'WHERE', value: '?' }] }, { placements });
    expect(JSON.parse(loadUnitConfig(env, []).command)).toEqual(['serve', '--fast', '--cpu']);
    expect(env['WHERE']).toBe('here');
  });
});

describe('the environment', () => {
  test('is inherited, without our own settings, which are not the unit’s', () => {
    const env = envOf(handler, {}, { HOME: '/home/ada', PENSTOCK_PORT: '1', PENSTOCK_TENANTS: 't', GONE: undefined });
    expect(env).toMatchObject({ HOME: '/home/ada' });
    expect(Object.keys(env)).not.toContain('PENSTOCK_PORT');
    expect(Object.keys(env)).not.toContain('PENSTOCK_TENANTS');
    expect(Object.keys(env)).not.toContain('GONE');
  });

  test('of the app wins over what is inherited, a variable without a value is empty', () => {
    const env = envOf({ ...handler, env: [{ name: 'MODEL', value: 'b' }, { name: 'EMPTY' }] }, {}, { MODEL: 'a' });
    expect([env['MODEL'], env['EMPTY']]).toEqual(['b', '']);
  });
});
