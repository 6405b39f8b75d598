// SPDX-License-Identifier: Apache-2.0
// The command line: `penstock standalone -f apps/`, `penstock keys new`, `penstock version`, `penstock help`.
import { readFileSync } from 'node:fs';
import { systemClock } from '#base/clock.ts';
import { ConfigError } from '#base/config.ts';
import { createLogger } from '#base/logger.ts';
import { systemRandom } from '#base/random.ts';
import { createShutdown, stopOnSignals } from '#base/shutdown.ts';
import { loadStandaloneConfig } from './config.ts';
import { UsageError } from './errors.ts';
import { KEYS_HELP, newKey } from './new-key.ts';
import { startStandalone } from './standalone.ts';
import { logDestination, stopOnTerminal } from './terminal.ts';

const HELP = `penstock: scarce GPUs as a service

  penstock standalone -f PATH   serve the apps of a manifest (or a folder of manifests) on this machine, until stopped
      --data DIR                queue, objects and keys (.data)
      --host ADDR --port N      client API (127.0.0.1, 8080); 0 = any free port
      --ops-port N              /healthz, /readyz, /metrics on loopback (any free port)
      --tenants FILE            API keys; required beyond loopback
      --lease-seconds N         how soon the work of a dead unit is given to another one (30)
      --log-level LEVEL         debug (calls, and what handlers print), info, warn, error or silent (info)
      --config FILE             the same settings as YAML; PENSTOCK_* and flags win
${KEYS_HELP}  penstock version
  penstock help
`;

/** Wrong usage: as `getopt` programs do. */
const EXIT_USAGE = 2;

function version(): string {
  const file = new URL('../../package.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}

async function standalone(argv: readonly string[]): Promise<number> {
  const config = loadStandaloneConfig(argv, process.env);
  const logger = createLogger('standalone', config.logLevel, logDestination());
  const shutdown = createShutdown(logger);
  stopOnSignals(shutdown);
  stopOnTerminal(shutdown);
  const running = await startStandalone(config, { logger, version: version() });
  shutdown.onStop('standalone', () => running.stop());
  // Asked to stop while it started: the steps have run without the one above.
  if (shutdown.signal.aborted) await running.stop();
  else process.stdout.write(`penstock: serving ${running.url} (ops ${running.opsUrl})\n`);
  await shutdown.done;
  return 0;
}

function keys([word, ...options]: readonly string[]): number {
  if (word !== 'new') throw new UsageError('keys: say penstock keys new --tenant NAME; try penstock help');
  const { key, entry } = newKey(options, systemClock, systemRandom);
  process.stderr.write(entry);
  process.stdout.write(key);
  return 0;
}

async function main([command = 'help', ...rest]: readonly string[]): Promise<number> {
  const wantsHelp = rest.some((word) => word === '--help' || word === '-h');
  if (command === 'standalone' && !wantsHelp) return await standalone(rest);
  if (command === 'keys' && !wantsHelp) return keys(rest);
  if (command === 'version' || command === '--version') {
    process.stdout.write(`penstock ${version()}\n`);
    return 0;
  }
  if (wantsHelp || command === 'help' || command === '--help' || command === '-h') {
    process.stdout.write(HELP);
    return 0;
  }
  process.stderr.write(`penstock: unknown command ${JSON.stringify(command)}; try penstock help\n`);
  return EXIT_USAGE;
}

try {
  process.exit(await main(process.argv.slice(2)));
} catch (err) {
  if (!(err instanceof ConfigError || err instanceof UsageError)) throw err;
  process.stderr.write(`penstock: ${err.message}\n`);
  process.exit(EXIT_USAGE);
}
