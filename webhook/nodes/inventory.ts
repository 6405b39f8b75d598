// SPDX-License-Identifier: Apache-2.0
import { isDeepStrictEqual } from 'node:util';
import type { Clock } from '#base/clock.ts';
import type { Logger } from '#base/logger.ts';
import type { Registry } from '#base/metrics.ts';
import type { Placement } from '#crds/placement.gen.ts';
import type { Cache, CacheEvent } from '#kube/cache.ts';
import { createTokenBucket } from '#kube/rate-limiter.ts';
import type { TokenBucket } from '#kube/rate-limiter.ts';
import type { GpuNode, Inventory } from '../slice/inventory.ts';
import { FINDING_REASONS } from './findings.ts';
import { toGpuNode } from './gpu-node.ts';
import type { Assessment } from './gpu-node.ts';
import { sameFacts } from './node-facts.ts';
import type { NodeFacts } from './node-facts.ts';
import { createNodeMetrics } from './node-metrics.ts';
import type { NodeMetrics } from './node-metrics.ts';
import type { NodeSettings } from './node-view.ts';
import { indexPlacements } from './placement-index.ts';
import type { PlacementIndex } from './placement-index.ts';
import { toPlacementSharing } from './sharing.ts';
import type { PlacementSharing } from './sharing.ts';

/** Lines about nodes: a label wrong on all of five thousand is one mistake, and the metric counts them. */
const LINES_PER_SECOND = 1;
const LINES_BURST = 20;
/** Nodes that are assessed at a time: some ten milliseconds, for which a review may have to wait. */
const AT_ONCE = 512;

export interface NodeInventoryDeps {
  readonly nodes: Cache<NodeFacts>;
  readonly placements: Cache<Placement>;
  readonly settings: {
    current(): NodeSettings;
    /** False until it is known whether there are any. */
    synced(): boolean;
    onChange(listener: () => void): () => void;
  };
  readonly clock: Clock;
  readonly logger: Logger;
  readonly registry: Registry;
}

export interface NodeInventory {
  /** The same object until something changed that matters: a heartbeat does not. */
  current(): Inventory;
  stop(): void;
}

const NOTHING: Inventory = { synced: false, nodes: [] };

/**
 * Nodes are assessed when they change, one by one; the snapshot is put together when somebody asks. An edit of settings or Placements
 * is about all of them: in a large cluster they are assessed in turns, and until the last one the snapshot from before the edit holds,
 * as if the edit had been made so much later.
 */
export function createNodeInventory(deps: NodeInventoryDeps): NodeInventory {
  return new CachedInventory(deps);
}

class CachedInventory implements NodeInventory {
  readonly #deps: NodeInventoryDeps;
  readonly #assessed = new Map<string, Assessment>();
  readonly #sharing = new Map<string, PlacementSharing>();
  readonly #stops: readonly (() => void)[];
  readonly #lines: TokenBucket;
  readonly #metrics: NodeMetrics;
  #settings: NodeSettings;
  #snapshot: Inventory | undefined;
  /** Settings or Placements changed, or not all is known yet: every node is to be assessed anew, once, when somebody asks. */
  #stale = true;
  #index: PlacementIndex = indexPlacements([]);
  /** Nodes whose turn has not come, and the next turn. */
  #waiting: string[] = [];
  #turn: NodeJS.Immediate | undefined;

  constructor(deps: NodeInventoryDeps) {
    this.#deps = deps;
    this.#lines = createTokenBucket(deps.clock, LINES_PER_SECOND, LINES_BURST);
    this.#metrics = createNodeMetrics(deps.registry, () => void this.current());
    this.#settings = deps.settings.current();
    this.#stops = [
      deps.placements.onChange((event) => this.#placementChanged(event)),
      deps.settings.onChange(() => this.#settingsChanged()),
      deps.nodes.onChange((event) => this.#nodeChanged(event)),
    ];
  }

  current(): Inventory {
    const { nodes, placements, settings } = this.#deps;
    if (!nodes.hasSynced() || !placements.hasSynced() || !settings.synced()) return NOTHING;
    if (this.#stale) this.#assessAll();
    if (this.#waiting.length > 0) return this.#snapshot ?? NOTHING;
    this.#snapshot ??= this.#assemble();
    return this.#snapshot;
  }

  stop(): void {
    for (const stop of this.#stops) stop();
    clearImmediate(this.#turn);
  }

  #nodeChanged(event: CacheEvent<NodeFacts>): void {
    if (event.type === 'delete') {
      if (this.#assessed.delete(event.key)) this.#changed();
    } else if (!this.#stale && (event.type === 'add' || !sameFacts(event.object, event.previous))) {
      this.#assess(event.key, event.object);
    }
  }

  #settingsChanged(): void {
    const settings = this.#deps.settings.current();
    // Most edits of the policy are about its rules.
    if (isDeepStrictEqual(settings, this.#settings)) return;
    this.#settings = settings;
    this.#expire();
  }

  #placementChanged(event: CacheEvent<Placement>): void {
    const before = this.#sharing.get(event.key);
    const after = event.type === 'delete' ? undefined : toPlacementSharing(event.object);
    // The operator writes their status all the time.
    if (isDeepStrictEqual(before, after)) return;
    if (after === undefined) this.#sharing.delete(event.key);
    else this.#sharing.set(event.key, after);
    this.#expire();
  }

  #expire(): void {
    this.#stale = true;
    // Begun before anybody asks, and so mostly done by then.
    clearImmediate(this.#turn);
    this.#turn = setImmediate(() => void this.current());
  }

  #assessAll(): void {
    this.#stale = false;
    this.#index = indexPlacements([...this.#sharing.values()]);
    this.#waiting = this.#deps.nodes.list().map(({ metadata }) => metadata.name);
    this.#assessSome();
  }

  #assessSome(): void {
    clearImmediate(this.#turn);
    for (const name of this.#waiting.splice(0, AT_ONCE)) {
      const facts = this.#deps.nodes.get(name);
      if (facts !== undefined) this.#assess(name, facts);
    }
    // What was assessed so far goes by other settings than what was not: it is shown when all of it is done.
    if (this.#waiting.length > 0) this.#turn = setImmediate(() => this.#assessSome());
    else this.#snapshot = undefined;
  }

  #changed(): void {
    if (!this.#stale && this.#waiting.length === 0) this.#snapshot = undefined;
  }

  #assess(name: string, facts: NodeFacts): void {
    const before = this.#assessed.get(name);
    const after = toGpuNode(facts, this.#settings, this.#index);
    if (after.node === undefined && before === undefined) return;
    if (after.node === undefined) this.#assessed.delete(name);
    else this.#assessed.set(name, after);
    this.#changed();
    if (!isDeepStrictEqual(before?.findings ?? [], after.findings)) this.#tell(name, after);
  }

  #tell(node: string, { findings }: Assessment): void {
    const { logger } = this.#deps;
    if (findings.length === 0) return logger.info({ node }, 'what is said about the node’s GPUs fits again');
    for (const { reason, message } of findings) {
      if (this.#lines.take()) logger.warn({ node, reason }, message);
    }
  }

  #assemble(): Inventory {
    const metrics = this.#metrics;
    const nodes: GpuNode[] = [];
    const found = new Map<string, number>(FINDING_REASONS.map((reason) => [reason, 0]));
    let shared = 0;
    for (const { node, findings } of this.#assessed.values()) {
      for (const reason of new Set(findings.map(({ reason }) => reason)))
        found.set(reason, (found.get(reason) ?? 0) + 1);
      if (node === undefined) continue;
      nodes.push(node);
      if (node.shared.length > 0) shared += 1;
    }
    metrics.nodes.set({ kind: 'gpu' }, nodes.length);
    metrics.nodes.set({ kind: 'shared' }, shared);
    for (const [reason, count] of found) metrics.findings.set({ reason }, count);
    return { synced: true, nodes };
  }
}
