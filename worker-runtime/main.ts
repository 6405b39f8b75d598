// SPDX-License-Identifier: Apache-2.0
/**
 * The process of a unit, in a pod or started by the local process driver.
 *
 * CONTRACT WITH WHOEVER STARTS IT (names and numbers: `#base/wire/unit-env.ts`, meaning and limits: `config.ts`)
 * - Start: `node worker-runtime/main.ts`, or the bundle that hack/bundle.ts makes of it: `worker-runtime.main.js` with the
 *   thread's entry and the Python host beside it. Working directory = where `handler` is relative to. No arguments are needed.
 * - Environment: UNIT_ENV; required are brokerUrl, unitTokenFile, archetype, and handler (Handler) or serverPort (Sidecar).
 *   The app's own env goes beside it; what starts with PENSTOCK_ is hidden from handlers and model servers.
 * - Files: reads `unitTokenFile` (again on each renewal), writes `readyFile` (in a pod an emptyDir on UNIT_RUN_DIR) when it begins
 *   to lease and removes it when it ends. Nothing else is written; the root file system may be read-only.
 * - Probes: GET /readyz and /healthz on opsHost:opsPort (pods: 0.0.0.0:UNIT_OPS_PORT); a startup probe's budget is
 *   readyTimeoutSeconds. In a Sidecar pod the model server is a native sidecar container with its own startup probe on
 *   serverHealthPath, and this process is the main container.
 * - End: SIGTERM = lease no more, finish within graceSeconds, give back the rest; the pod's grace must be graceSeconds + 10.
 *   Exit codes: UNIT_EXIT. 0 is the only good end; nothing restarts a unit (restartPolicy Never).
 * - Without a kubelet: `command` makes it start the model server itself, and `parentPipe` makes it end (killing what it started)
 *   when its standard input ends, so that a driver that was killed leaves nothing behind. A driver that also makes it the leader of a
 *   process group (`detached`) gets even what handlers start ended with the unit, however that ends.
 */
import { ConfigError } from '#base/config.ts';
import { systemClock } from '#base/clock.ts';
import { createLogger } from '#base/logger.ts';
import { createRegistry } from '#base/metrics.ts';
import { startOpsServer } from '#base/ops-server.ts';
import { systemRandom } from '#base/random.ts';
import { UNIT_EXIT } from '#base/wire/unit-env.ts';
import { loadUnitConfig } from './config.ts';
import type { UnitConfig } from './config.ts';
import { createExecutor } from './executors.ts';
import { guardOwnGroup } from './guard.ts';
import { runUnit } from './unit.ts';

const config = readConfig();
const logger = createLogger('unit', config.logLevel);
const registry = createRegistry('unit');
const stop = new AbortController();
for (const name of ['SIGTERM', 'SIGINT'] as const) process.on(name, () => stop.abort(new Error(name)));
if (config.parentPipe) {
  guardOwnGroup();
  // No grace: whoever would collect the results is gone, and their leases run out by themselves. SIGKILL, because exit() would wait
  // for a thread that hangs in native code.
  process.stdin.on('end', () => process.kill(process.pid, 'SIGKILL')).resume();
}

let ready = false;
const ops = await startOpsServer({
  host: config.opsHost,
  port: config.opsPort,
  registry,
  notReady: () => (ready ? undefined : 'the model is not loaded'),
});
const assets = {
  thread: new URL('./thread-entry.ts', import.meta.url), // hack/bundle.ts follows such references
  python: new URL('./python/penstock_worker.py', import.meta.url),
};
try {
  const code = await runUnit({
    config,
    clock: systemClock,
    random: systemRandom,
    logger,
    registry,
    createExecutor: (identity) => createExecutor({ config, identity, assets, clock: systemClock, logger }),
    stop: stop.signal,
    onReady: (now) => {
      ready = now;
    },
  });
  await ops.close();
  process.exit(code);
} catch (err) {
  logger.error({ err }, 'unit cannot end in order');
  // exit() waits for threads; this does not.
  process.kill(process.pid, 'SIGKILL');
}

function readConfig(): UnitConfig {
  try {
    return loadUnitConfig(process.env, process.argv.slice(2));
  } catch (err) {
    if (!(err instanceof ConfigError)) throw err;
    process.stderr.write(`${err.message}\n`);
    return process.exit(UNIT_EXIT.misconfigured);
  }
}
