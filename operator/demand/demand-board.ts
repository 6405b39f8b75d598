// SPDX-License-Identifier: Apache-2.0
import { backoffDelay } from '#base/backoff.ts';
import type { Clock } from '#base/clock.ts';
import { canonicalJson } from '#base/json.ts';
import type { Logger } from '#base/logger.ts';
import type { Random } from '#base/random.ts';
import type { AppDemandWire } from '#base/wire/demand.ts';
import type { GatewayClient } from './gateway-client.ts';

/** Between two looks while something is queued, leased or alive: how fast a deepening queue becomes more units. */
const BUSY_POLL_MS = 2_000;
/** Between two looks at rest; the wake-up stream reports the first request, this only heals a lost message. */
const IDLE_POLL_MS = 15_000;
/** Wake-ups come for all work that becomes ready; under load they are worth one look in this time. The first is looked at at once. */
const WAKE_SPACING_MS = 250;
/** A demand this old is not acted on any more: the gateway counts as unknown. Bridges the restart of one replica. */
const STALE_MS = 10_000;
/** After a failed call the next one waits this long, so that a hundred reconciles do not each wait for a dead gateway. */
const RETRY_MS = 1_000;
/** A new app reaches the gateway by a watch of its own, a moment later or earlier than us. */
const UNKNOWN_APP_RETRY_MS = 500;
const STREAM_BACKOFF = { firstMs: 200, maxMs: 10_000, factor: 2 };
/** A stream that lived this long was healthy: its end starts the backoff anew. */
const STREAM_HEALTHY_MS = 30_000;

/** What the gateway says of one app. */
export interface DemandView {
  /** undefined = not known; `problem` says why. */
  readonly demand?: AppDemandWire;
  readonly problem?: string;
  /** Worth another look after this time although nothing may happen until then. */
  readonly retryAfterMs?: number;
}

export interface DemandBoardOptions {
  readonly client: Pick<GatewayClient, 'demand' | 'wakeUps'>;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** The demand of these apps is another than before, or has become known or unknown; undefined = all apps. */
  readonly onChange: (appUid: string | undefined) => void;
  /** For metrics. */
  readonly onWake?: () => void;
}

export interface DemandBoard {
  /** Demand no older than `maxAgeMs`, as far as the gateway answers. Calls share one request. */
  look(appUid: string, maxAgeMs: number): Promise<DemandView>;
  /** Why the gateway counts as unknown, or undefined. */
  problem(): string | undefined;
  /** Polls and listens until the signal aborts. */
  run(signal: AbortSignal): Promise<void>;
}

/** The operator's picture of the queue: polled while there is something to see, woken by the gateway's stream. */
export function createDemandBoard(options: DemandBoardOptions): DemandBoard {
  return new Board(options);
}

class Board implements DemandBoard {
  readonly #options: DemandBoardOptions;
  #apps = new Map<string, AppDemandWire>();
  /** Monotonic ms at which the last answer was asked for; −∞ before the first. */
  #asOf = Number.NEGATIVE_INFINITY;
  #failedAt = Number.NEGATIVE_INFINITY;
  #failure = 'the gateway has not been asked yet';
  #wasKnown = false;
  #inFlight: Promise<void> | undefined;
  #nudge = new AbortController();

  constructor(options: DemandBoardOptions) {
    this.#options = options;
  }

  async look(appUid: string, maxAgeMs: number): Promise<DemandView> {
    const { clock } = this.#options;
    const now = clock.monotonic();
    const isOld = (): boolean => now - this.#asOf > maxAgeMs && now - this.#failedAt > RETRY_MS;
    if (isOld()) await this.#refresh();
    // It joined a request that was asked before it wanted to know.
    if (isOld()) await this.#refresh();
    const problem = this.problem();
    if (problem !== undefined) return { problem };
    const demand = this.#apps.get(appUid);
    if (demand !== undefined) return { demand };
    return { problem: 'the gateway does not know this app yet', retryAfterMs: UNKNOWN_APP_RETRY_MS };
  }

  problem(): string | undefined {
    return this.#options.clock.monotonic() - this.#asOf <= STALE_MS ? undefined : this.#failure;
  }

  async run(signal: AbortSignal): Promise<void> {
    await Promise.all([this.#poll(signal), this.#listen(signal)]);
  }

  /** One request at a time. */
  #refresh(): Promise<void> {
    this.#inFlight ??= this.#fetch().finally(() => {
      this.#inFlight = undefined;
    });
    return this.#inFlight;
  }

  async #fetch(): Promise<void> {
    const { client, clock, logger, onChange } = this.#options;
    const asOf = clock.monotonic();
    try {
      const apps = await client.demand();
      this.#take(apps, asOf);
    } catch (err) {
      this.#failedAt = clock.monotonic();
      this.#failure = err instanceof Error ? err.message : String(err);
      if (this.problem() === undefined || !this.#wasKnown) return;
      this.#wasKnown = false;
      logger.warn({ err }, 'the gateway does not answer; nothing is started or removed until it does');
      onChange(undefined);
    }
  }

  #take(apps: readonly AppDemandWire[], asOf: number): void {
    const { logger, onChange } = this.#options;
    const before = this.#apps;
    this.#apps = new Map(apps.map((app) => [app.uid, app]));
    this.#asOf = asOf;
    if (!this.#wasKnown) {
      this.#wasKnown = true;
      logger.info({ apps: apps.length }, 'the gateway answers');
      onChange(undefined);
      return;
    }
    for (const uid of new Set([...before.keys(), ...this.#apps.keys()])) {
      if (essence(before.get(uid)) !== essence(this.#apps.get(uid))) onChange(uid);
    }
  }

  async #poll(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      this.#nudge = new AbortController();
      const { signal: nudged } = this.#nudge;
      const spacing = this.#asOf + WAKE_SPACING_MS - this.#options.clock.monotonic();
      if (spacing > 0) await this.#options.clock.sleep(spacing, signal).catch(() => {});
      // An answer that was asked for before the nudge does not count.
      await this.#inFlight;
      await this.#refresh();
      const wait = this.#isBusy() || this.problem() !== undefined ? BUSY_POLL_MS : IDLE_POLL_MS;
      await this.#options.clock.sleep(wait, AbortSignal.any([signal, nudged])).catch(() => {});
    }
  }

  #isBusy(): boolean {
    // The gateway tells of a retired unit for a long time; nothing comes of it any more.
    const isLive = (app: AppDemandWire): boolean => app.units.some(({ retired }) => !retired);
    return [...this.#apps.values()].some((app) => app.queued + app.leased > 0 || isLive(app));
  }

  async #listen(signal: AbortSignal): Promise<void> {
    const { client, clock, random, logger, onWake } = this.#options;
    let failures = 0;
    while (!signal.aborted) {
      const since = clock.monotonic();
      try {
        // Whatever happened while nobody listened is in the answer that the opening asks for.
        await client.wakeUps(
          () => {
            onWake?.();
            this.#poke();
          },
          () => this.#poke(),
          signal,
        );
      } catch (err) {
        if (!signal.aborted) logger.debug({ err }, 'the wake-up stream ended');
      }
      if (clock.monotonic() - since > STREAM_HEALTHY_MS) failures = 0;
      await clock.sleep(backoffDelay(STREAM_BACKOFF, failures++, random), signal).catch(() => {});
    }
  }

  #poke(): void {
    this.#nudge.abort(new Error('something happened'));
  }
}

/** What a decision depends on: not when a unit was last seen, which changes with every call of every unit. */
function essence(app: AppDemandWire | undefined): string {
  if (app === undefined) return '';
  const units = app.units.map(({ unit, revision, leases, retired }) => ({ unit, revision, leases, retired }));
  return canonicalJson({ ...app, units });
}
