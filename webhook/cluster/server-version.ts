// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '#base/clock.ts';
import type { Logger } from '#base/logger.ts';
import type { KubeClient } from '#kube/client.ts';
import { atLeast, parseServerVersion, printed } from './versions.ts';
import type { Version } from './versions.ts';

/** API servers are upgraded a few times a year. */
const LOOK_EVERY_MS = 5 * 60_000;
const RETRY_MS = 10_000;
const DEADLINE_MS = 5_000;
/**
 * Looks in a row that must see a newer version. In the middle of an upgrade old servers still take calls: they would drop an
 * image volume's source without a word, and the pod would run without its library.
 */
const LOOKS_TO_RISE = 3;

export interface ServerVersionDeps {
  readonly client: Pick<KubeClient, 'call'>;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** The version that the cluster's API servers have at least, looked at from time to time. */
export interface ServerVersion {
  start(): void;
  stop(): Promise<void>;
  /** Undefined until one has answered. */
  current(): Version | undefined;
  /** After the first look, whatever came of it. */
  looked(): Promise<void>;
}

export function createServerVersion({ client, clock, logger }: ServerVersionDeps): ServerVersion {
  const stopping = new AbortController();
  const first = Promise.withResolvers<void>();
  let running: Promise<void> | undefined;
  let version: Version | undefined;
  let higher = 0;

  const take = (seen: Version): void => {
    const rises = version !== undefined && !atLeast(version, seen);
    higher = rises ? higher + 1 : 0;
    if (rises && higher < LOOKS_TO_RISE) return;
    higher = 0;
    if (version === undefined || printed(version) !== printed(seen))
      logger.info({ version: printed(seen) }, 'version of the API server');
    version = seen;
  };
  const look = async (): Promise<number> => {
    try {
      const seen = parseServerVersion(
        await client.call({ method: 'GET', path: '/version', signal: stopping.signal, deadlineMs: DEADLINE_MS }),
      );
      if (seen === undefined) throw new Error('/version names no version');
      take(seen);
      return LOOK_EVERY_MS;
    } catch (err) {
      if (!stopping.signal.aborted) logger.warn({ err }, 'the version of the API server cannot be read, trying again');
      return RETRY_MS;
    }
  };
  const run = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      const wait = await look();
      first.resolve();
      await clock.sleep(wait, stopping.signal).catch(() => {});
    }
  };
  return {
    start: () => void (running ??= run()),
    stop: async () => {
      stopping.abort(new Error('the look at the version stops'));
      await running;
    },
    current: () => version,
    looked: () => first.promise,
  };
}
