// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { loadStandaloneConfig } from './config.ts';

const load = (argv: readonly string[], env: NodeJS.ProcessEnv = {}) => loadStandaloneConfig(argv, env);

describe('settings', () => {
  test('have defaults: this machine only, port 8080', () => {
    expect(load(['-f', 'apps'])).toEqual({
      apps: 'apps',
      data: '.data',
      host: '127.0.0.1',
      port: 8080,
      internalPort: 0,
      opsPort: 0,
      tenants: '',
      leaseSeconds: 30,
      logLevel: 'info',
    });
  });

  test('come from flags', () => {
    const flags = ['--file', 'apps', '--data', 'd', '--host', '::1', '--port', '0', '--internal-port', '1'];
    const more = ['--ops-port', '2', '--tenants', 't.yaml', '--lease-seconds', '5', '--log-level', 'debug'];
    expect(load([...flags, ...more])).toEqual({
      apps: 'apps',
      data: 'd',
      host: '::1',
      port: 0,
      internalPort: 1,
      opsPort: 2,
      tenants: 't.yaml',
      leaseSeconds: 5,
      logLevel: 'debug',
    });
  });

  test('come from PENSTOCK_*, over which flags win', () => {
    const env = { PENSTOCK_APPS: 'from-env', PENSTOCK_PORT: '1', PENSTOCK_OPS_PORT: '2', PENSTOCK_UNKNOWN: 'x' };
    expect(load(['--port', '3'], env)).toMatchObject({ apps: 'from-env', port: 3, opsPort: 2 });
  });
});

test.each<[what: string, argv: readonly string[], env: NodeJS.ProcessEnv, says: RegExp]>([
  ['nothing to serve', [], {}, /apps: say with -f what to serve/],
  ['an empty path', ['-f', ''], {}, /apps: say with -f/],
  ['an unknown flag', ['-f', 'a', '--prot', '1'], {}, /command line: .*--prot/],
  ['an unknown short flag', ['-x'], {}, /command line: .*-x/],
  ['a flag without a value', ['-f', 'a', '--port'], {}, /command line: .*--port/],
  ['a word too many', ['-f', 'a', 'b'], {}, /command line: .*'b'/],
  ['a port above 65535', ['-f', 'a', '--port', '65536'], {}, /port: must be <= 65535/],
  ['a negative port', ['-f', 'a', '--port=-1'], {}, /port: must be >= 0/],
  ['half a port', ['-f', 'a', '--port', '80.5'], {}, /port: must be integer/],
  ['an empty port', ['-f', 'a', '--port', ''], {}, /port: must be integer/],
  ['no lease at all', ['-f', 'a', '--lease-seconds', '0'], {}, /leaseSeconds: must be >= 1/],
  ['an unknown level', ['-f', 'a', '--log-level', 'loud'], {}, /logLevel: must be one of debug, info, warn/],
  ['a port from the environment that is no number', ['-f', 'a'], { PENSTOCK_PORT: 'x' }, /PENSTOCK_PORT must be a num/],
  ['a file that is not there', ['-f', 'a', '--config', '/nowhere.yaml'], {}, /\/nowhere\.yaml: cannot be read/],
])('refuses %s', (_what, argv, env, says) => {
  expect(() => load(argv, env)).toThrow(says);
});
