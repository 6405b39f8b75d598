// SPDX-License-Identifier: Apache-2.0
/** A unit process of a schedule: production code around a handler that does what bodies say, on a machine whose clock is hours off. */
import { createLogger } from '#base/logger.ts';
import { createRegistry } from '#base/metrics.ts';
import { systemRandom } from '#base/random.ts';
import { runUnit } from '#worker/unit.ts';
import { fakeExecutor } from '../fake-executor.ts';
import { unitConfig } from '../unit-config.ts';
import { LEASE_SECONDS, readSettings, skewedClock } from './settings.ts';
import type { UnitProcessSettings } from './settings.ts';

const settings = readSettings(process.argv[2]) as UnitProcessSettings;
const clock = skewedClock(settings.clockOffsetMs);
const stop = new AbortController();
process.once('SIGTERM', () => stop.abort(new Error('SIGTERM')));
const executor = fakeExecutor({
  unit: settings.name,
  slots: settings.concurrency > 2 ? 2 : 1,
  batchSize: settings.batchSize,
  clock,
  isDead: () => false,
  die: () => process.kill(process.pid, 'SIGKILL'),
  slowMs: LEASE_SECONDS * 1_500,
  hangMs: LEASE_SECONDS * 2_000,
});
const code = await runUnit({
  config: unitConfig(settings),
  clock,
  random: systemRandom,
  logger: createLogger('unit', 'warn'),
  registry: createRegistry('unit', false),
  createExecutor: () => executor,
  stop: stop.signal,
  onReady: () => {},
});
process.exit(code);
