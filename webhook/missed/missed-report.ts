// SPDX-License-Identifier: Apache-2.0
// Pods pass when the webhook is away (`failurePolicy: Ignore`). What passed by it is told afterwards, to people and dashboards; nothing
// is done to the pods: a restart would cost more than a whole GPU that is in use.
import { OBJECTS } from '#crds/names.ts';
import type { Registry } from '#base/metrics.ts';
import type { EventRecorder } from '#kube/events.ts';
import type { KubeDeps } from '#kube/informer.ts';
import { createLeaderElection } from '#kube/leader-election.ts';
import type { LeaderElection, LeaseTimes } from '#kube/leader-election.ts';
import { isServed } from '../served-namespaces.ts';
import type { SliceDeps } from '../slice/context.ts';
import { createMissedMetrics } from './missed-metrics.ts';
import type { MissedMetrics } from './missed-metrics.ts';
import { podPages } from './pod-pages.ts';
import { missedSlice } from './missed-slice.ts';
import type { LivePod, MissedKind, MissedSlice } from './missed-slice.ts';

/** Between two looks at all pods: they cost the API server a list, and nobody waits for the answer. */
const INTERVAL_MS = 5 * 60_000;
/** Until nodes and policy have been read. */
const NOT_SYNCED_MS = 5_000;
/** Events of one look; the recorder writes 50 at once and 5 a second. The rest is told by the next looks. */
const MAX_EVENTS = 50;
/** Pods that are remembered as told; further ones are only counted. */
const MAX_TOLD = 10_000;

export interface MissedReportDeps extends KubeDeps {
  readonly cluster: Pick<SliceDeps, 'inventory' | 'policy' | 'delivery' | 'settings'>;
  /** Penstock's own: the Lease is there, and its pods are not looked at. */
  readonly namespace: string;
  readonly identity: string;
  readonly events: Pick<EventRecorder, 'record'>;
  readonly registry: Registry;
  /** Default 5 minutes. */
  readonly intervalMs?: number;
  readonly leaseTimes?: LeaseTimes;
}

export interface MissedReport {
  start(): void;
  /** Final. */
  stop(): Promise<void>;
}

export function createMissedReport(deps: MissedReportDeps): MissedReport {
  return new Reporter(deps);
}

interface Found {
  readonly pod: LivePod;
  readonly missed: MissedSlice;
}

class Reporter implements MissedReport {
  readonly #deps: MissedReportDeps;
  readonly #metrics: MissedMetrics;
  readonly #election: LeaderElection;
  #working: Promise<void> = Promise.resolve();
  /** uids of pods that were told of and are still there, with what was told. */
  #told = new Map<string, MissedKind>();

  constructor(deps: MissedReportDeps) {
    this.#deps = deps;
    this.#metrics = createMissedMetrics(deps.registry);
    this.#election = createLeaderElection({
      ...deps,
      lease: { namespace: deps.namespace, name: OBJECTS.webhookLease },
      ...(deps.leaseTimes === undefined ? {} : { times: deps.leaseTimes }),
      onStarted: (leading) => void (this.#working = this.#lead(leading)),
      onStopped: async () => {
        await this.#working;
        // Only one replica says how many there are, or a sum over the replicas would count them twice.
        this.#metrics.forget();
      },
    });
  }

  start(): void {
    this.#election.start();
  }

  stop(): Promise<void> {
    return this.#election.stop();
  }

  async #lead(leading: AbortSignal): Promise<void> {
    const { clock, logger, intervalMs = INTERVAL_MS } = this.#deps;
    while (!leading.aborted) {
      let waitMs = intervalMs;
      try {
        if (this.#deps.cluster.inventory().synced) await this.#look(leading);
        else waitMs = NOT_SYNCED_MS;
      } catch (err) {
        if (!leading.aborted) logger.warn({ err }, 'pods could not be looked at, trying again at the next time');
      }
      await clock.sleep(waitMs, leading).catch(() => {});
    }
  }

  async #look(leading: AbortSignal): Promise<void> {
    const counts = new Map<MissedKind, number>();
    const still = new Map<string, MissedKind>();
    let events = 0;
    for await (const page of podPages(this.#deps.client, leading)) {
      for (const { pod, missed } of page.flatMap((pod) => this.#found(pod))) {
        counts.set(missed.kind, (counts.get(missed.kind) ?? 0) + 1);
        const uid = pod.metadata.uid ?? '';
        const isKnown = this.#told.get(uid) === missed.kind;
        const isTold = isKnown || (events < MAX_EVENTS && still.size < MAX_TOLD);
        if (isTold) still.set(uid, missed.kind);
        if (!isTold || isKnown) continue;
        events += 1;
        this.#tell(pod, missed);
      }
    }
    this.#told = still;
    this.#metrics.looked(counts, this.#deps.clock.now());
    if (events > 0)
      this.#deps.logger.info({ ...Object.fromEntries(counts), told: events }, 'pods passed by the webhook');
  }

  #found(pod: LivePod): Found[] {
    const { cluster, namespace: own } = this.#deps;
    const { namespace = '', labels = {} } = pod.metadata;
    if (!isServed(namespace, own)) return [];
    const missed = missedSlice(pod, {
      inventory: cluster.inventory(),
      policy: cluster.policy({ namespace, labels }),
      delivery: cluster.delivery(namespace),
      settings: cluster.settings(),
    });
    return missed === undefined ? [] : [{ pod, missed }];
  }

  #tell({ metadata }: LivePod, { kind, why }: MissedSlice): void {
    const { name, namespace, uid } = metadata;
    const regarding = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, ...(namespace === undefined ? {} : { namespace }), ...(uid === undefined ? {} : { uid }) },
    };
    const note = `${why} It is left as it is; make it anew to have that changed.`;
    this.#deps.events.record({ regarding, type: 'Warning', reason: 'SliceMissed', action: 'Report', note });
    this.#metrics.told(kind);
  }
}
