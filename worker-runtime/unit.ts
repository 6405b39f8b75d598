// SPDX-License-Identifier: Apache-2.0
import { readFile, rm, mkdir, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { backoffDelay } from '#base/backoff.ts';
import type { Clock } from '#base/clock.ts';
import { isObject } from '#base/json.ts';
import type { Logger } from '#base/logger.ts';
import type { Registry } from '#base/metrics.ts';
import type { Random } from '#base/random.ts';
import { UNIT_EXIT } from '#base/wire/unit-env.ts';
import { BROKER_BACKOFF, createBroker } from './broker/broker-client.ts';
import { createPayloads } from './broker/payloads.ts';
import { createSession } from './broker/session.ts';
import type { Session } from './broker/session.ts';
import { createTransport } from './broker/transport.ts';
import type { UnitConfig } from './config.ts';
import { BrokerUnavailable, NotReady, TokenRefused, describe } from './errors.ts';
import type { Executor } from './executor.ts';
import { LeaseLoop } from './loop/lease-loop.ts';
import { createUnitMetrics } from './metrics.ts';

export interface UnitDeps {
  readonly config: UnitConfig;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly registry: Registry;
  readonly createExecutor: (identity: UnitIdentity) => Executor;
  /** Aborts on SIGTERM. */
  readonly stop: AbortSignal;
  /** Called with true when the unit may lease, with false when it no longer does. */
  readonly onReady: (ready: boolean) => void;
}

/** What the unit token says about its bearer. The gateway checks it; here it only names things. */
export interface UnitIdentity {
  readonly unit: string;
  readonly app: string;
}

/** The life of a unit: session → load → ready → lease loop → end. Answers the exit code. */
export async function runUnit(deps: UnitDeps): Promise<number> {
  const { config, clock, random, stop, logger } = deps;
  const transport = createTransport(config.brokerUrl);
  const readUnitToken = async (): Promise<string> => (await readFile(config.unitTokenFile, 'utf8')).trim();
  const session = createSession({ transport, readUnitToken, clock });
  const executor = deps.createExecutor(identityOf(await readUnitToken()));
  try {
    // A retired unit must not load a model just to hear that it may go.
    await firstToken(session, deps);
    await Promise.race([executor.start(stop), aborted(stop)]);
    await setReady(config.readyFile, true);
    deps.onReady(true);
    const broker = createBroker({ transport, session, clock, random });
    const loop = new LeaseLoop({
      ...deps,
      options: {
        archetype: config.archetype,
        instances: config.instances,
        concurrency: config.concurrency,
        maxJobs: config.maxJobs,
        leaseWaitSeconds: config.leaseWaitSeconds,
        graceMs: config.graceSeconds * 1000,
        brokerLostMs: config.brokerLostSeconds * 1000,
      },
      broker,
      payloads: createPayloads({ broker, clock, random }),
      executor,
      metrics: createUnitMetrics(deps.registry),
    });
    const onStop = (): void => loop.stop('asked to stop');
    stop.addEventListener('abort', onStop, { once: true });
    if (stop.aborted) onStop();
    return (await loop.run()).code;
  } catch (err) {
    return exitOf(err, stop, logger);
  } finally {
    deps.onReady(false);
    await setReady(config.readyFile, false);
    await transport.close();
    // Rejects when a thread hangs in native code, in which case only a signal ends the process.
    await executor.close();
  }
}

/** Rejects when the unit is asked to stop: loading may take minutes and can't be asked to end. */
function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const abort = (): void => reject(signal.reason instanceof Error ? signal.reason : new Error('stopped'));
    signal.addEventListener('abort', abort, { once: true });
    if (signal.aborted) abort();
  });
}

function exitOf(err: unknown, stop: AbortSignal, logger: Logger): number {
  if (stop.aborted) return UNIT_EXIT.left;
  if (err instanceof TokenRefused) {
    logger.info({ reason: 'refused', detail: err.message }, 'unit leaves');
    return UNIT_EXIT.left;
  }
  if (err instanceof NotReady) {
    logger.error({ err }, 'unit is not ready');
    return UNIT_EXIT.notReady;
  }
  logger.error({ err }, 'unit cannot go on');
  return UNIT_EXIT.crashed;
}

/** The gateway may come up after its units. @throws TokenRefused, or BrokerUnavailable once brokerLostSeconds have passed */
async function firstToken(session: Session, { config, clock, random, stop, logger }: UnitDeps): Promise<void> {
  const until = clock.monotonic() + config.brokerLostSeconds * 1000;
  for (let tried = 0; ; tried++) {
    try {
      await session.token();
      return;
    } catch (err) {
      if (!(err instanceof BrokerUnavailable) || clock.monotonic() >= until) throw err;
      if (tried === 0) logger.warn({ err: describe(err) }, 'the gateway cannot be reached yet, trying again');
    }
    await clock.sleep(backoffDelay(BROKER_BACKOFF, tried, random), stop);
  }
}

/** Claims of a JWT without any check. */
export function identityOf(token: string): UnitIdentity {
  let claims: unknown;
  try {
    claims = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8'));
  } catch {
    claims = undefined;
  }
  const of = (name: string): string =>
    isObject(claims) && typeof claims[name] === 'string' ? claims[name] : 'unknown';
  return { unit: of('sub'), app: `${of('namespace')}.${of('app')}` };
}

async function setReady(file: string, ready: boolean): Promise<void> {
  if (file === '') return;
  if (!ready) return rm(file, { force: true });
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, '');
}
