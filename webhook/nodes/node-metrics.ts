// SPDX-License-Identifier: Apache-2.0
import { gauge } from '#base/metrics.ts';
import type { Gauge, Registry } from '#base/metrics.ts';
import { FINDING_REASONS } from './findings.ts';

export interface NodeMetrics {
  /** `kind`: gpu (has cards), shared (offers parts of them). */
  readonly nodes: Gauge<'kind'>;
  /** Nodes of which something contradictory or incomplete is said. */
  readonly findings: Gauge<'reason'>;
}

/** @param refresh sets both before a scrape, in case that nobody has asked for the inventory since something changed */
export function createNodeMetrics(registry: Registry, refresh: () => void): NodeMetrics {
  const nodes = gauge(
    registry,
    'penstock_webhook_nodes',
    'GPU nodes known, and those of them that share',
    ['kind'],
    refresh,
  );
  for (const kind of ['gpu', 'shared']) nodes.set({ kind }, 0);
  const findings = gauge(
    registry,
    'penstock_webhook_node_findings',
    'Nodes whose labels, resources and Placements contradict each other or say too little, by reason',
    ['reason'],
    refresh,
  );
  for (const reason of FINDING_REASONS) findings.set({ reason }, 0);
  return { nodes, findings };
}
