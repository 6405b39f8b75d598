// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { ConfigError, envName } from '#base/config.ts';
import { UNIT_ENV } from '#base/wire/unit-env.ts';
import { UNIT_SCHEMA, commandOf, loadUnitConfig } from './config.ts';

const REQUIRED = {
  PENSTOCK_BROKER_URL: 'http://127.0.0.1:8081',
  PENSTOCK_UNIT_TOKEN_FILE: '/var/run/penstock/token',
  PENSTOCK_ARCHETYPE: 'Handler',
  PENSTOCK_HANDLER: 'model.ts',
};

describe('settings of a unit', () => {
  it('have the names that whoever starts a unit knows', () => {
    const settings = Object.keys(UNIT_SCHEMA.properties as object);
    expect(Object.keys(UNIT_ENV)).toEqual(settings);
    expect(Object.values(UNIT_ENV)).toEqual(settings.map(envName));
  });

  it('come from the environment, and flags win', () => {
    const config = loadUnitConfig({ ...REQUIRED, PENSTOCK_CONCURRENCY: '4' }, [
      '--concurrency',
      '8',
      '--parent-pipe',
      'true',
    ]);
    expect(config).toMatchObject({
      concurrency: 8,
      handler: 'model.ts',
      parentPipe: true,
      leaseWaitSeconds: 25,
      readyFile: '',
    });
  });

  it.each([
    ['a missing broker URL', { PENSTOCK_BROKER_URL: undefined }, /brokerUrl: is required.*PENSTOCK_BROKER_URL/],
    ['a broker URL with a path', { PENSTOCK_BROKER_URL: 'http://host/internal' }, /brokerUrl: must match pattern/],
    ['an unknown archetype', { PENSTOCK_ARCHETYPE: 'Job' }, /archetype: must be one of Handler, Sidecar/],
    ['a Handler without handler', { PENSTOCK_HANDLER: undefined }, /handler: is required for archetype Handler/],
    ['a Sidecar without port', { PENSTOCK_ARCHETYPE: 'Sidecar' }, /serverPort: is required for archetype Sidecar/],
    ['a concurrency of 0', { PENSTOCK_CONCURRENCY: '0' }, /concurrency: must be >= 1/],
    ['a concurrency that is no number', { PENSTOCK_CONCURRENCY: 'many' }, /concurrency: .*must be a number/],
    ['a command that is no JSON', { PENSTOCK_COMMAND: 'python3 x.py' }, /command: must be a JSON array of strings/],
    ['a command that is no list', { PENSTOCK_COMMAND: '{"a":1}' }, /command: must be a JSON array of strings/],
    ['an empty command', { PENSTOCK_COMMAND: '[]' }, /command: must name a program/],
  ])('refuse %s', (_name, env, message) => {
    const load = (): unknown => loadUnitConfig({ ...REQUIRED, ...env }, []);
    expect(load).toThrow(ConfigError);
    expect(load).toThrow(message);
  });

  it.each([
    [['--concurency', '3'], /command line: Unknown option '--concurency'/],
    [['--concurrency', 'x'], /concurrency: must be integer/],
    [['--parent-pipe', 'maybe'], /parentPipe: must be boolean/],
  ])('refuse the flags %s', (argv, message) => {
    expect(() => loadUnitConfig(REQUIRED, argv)).toThrow(message);
  });

  it('keep the words of a command as they are', () => {
    const words = ['python3', 'a b.py', '$(reboot)', "'"];
    const config = loadUnitConfig({ ...REQUIRED, PENSTOCK_COMMAND: JSON.stringify(words) }, []);
    expect(commandOf(config)).toEqual(words);
  });
});
