// SPDX-License-Identifier: Apache-2.0
import { createRegistry, counter, gauge } from '#base/metrics.ts';
import type { Registry } from '#base/metrics.ts';
import { shownDevices } from '../sessions/ledger.ts';
import type { Overview } from '../sessions/overview.ts';

const STATES = ['active', 'expired', 'closed', 'damaged'] as const;

/** The figures of these sessions as Prometheus reads them. */
export async function metricsText(found: readonly Overview[]): Promise<string> {
  const registry = createRegistry('vram', false);
  fill(registry, found);
  return await registry.metrics();
}

function fill(registry: Registry, found: readonly Overview[]): void {
  const sessions = gauge(registry, 'penstock_vram_sessions', 'Sessions of this user by state.', ['state']);
  for (const state of STATES) sessions.set({ state }, 0);
  for (const { session } of found) sessions.inc({ state: session?.control.state ?? 'damaged' });
  fillSessions(registry, found);
  fillDevices(registry, found);
}

function fillSessions(registry: Registry, found: readonly Overview[]): void {
  const processes = gauge(registry, 'penstock_vram_processes', 'Living processes that hold a slot of the session.', [
    'session',
  ]);
  const expires = gauge(
    registry,
    'penstock_vram_expiry_timestamp_seconds',
    'When the session expires if nobody uses it; absent while in use.',
    ['session'],
  );
  for (const { name, session, ledger } of found) {
    if (session === undefined) continue;
    processes.set({ session: name }, ledger.processes.filter(({ alive }) => alive).length);
    const { idleUntilMs } = session.record;
    if (idleUntilMs !== undefined) expires.set({ session: name }, idleUntilMs / 1000);
  }
}

function fillDevices(registry: Registry, found: readonly Overview[]): void {
  const labels = ['session', 'device'] as const;
  const limit = gauge(registry, 'penstock_vram_limit_bytes', 'Limit of the session on the GPU; +Inf: none.', labels);
  const used = gauge(registry, 'penstock_vram_used_bytes', 'Allocated by living processes.', labels);
  const leased = gauge(registry, 'penstock_vram_leased_bytes', 'Lent to processes: used, and credit at hand.', labels);
  const denials = counter(registry, 'penstock_vram_denials_total', 'Allocations refused.', labels);
  const reclaimed = counter(registry, 'penstock_vram_reclaimed_bytes_total', 'Came back from dead processes.', labels);
  const kinds = ['session', 'device', 'kind'] as const;
  const outside = counter(
    registry,
    'penstock_vram_unaccounted_bytes_total',
    'Seen so far, and covered by no limit; what was given back stays in.',
    kinds,
  );
  for (const { name, session, ledger } of found) {
    for (const view of ledger === undefined ? [] : shownDevices(ledger, session.record.limits)) {
      const of = { session: name, device: view.device };
      limit.set(of, view.limitBytes ?? Number.POSITIVE_INFINITY);
      used.set(of, view.usedBytes);
      leased.set(of, view.leasedBytes);
      denials.inc(of, view.denials);
      reclaimed.inc(of, view.reclaimedBytes);
      for (const [kind, { bytes }] of Object.entries(view.unaccounted)) outside.inc({ ...of, kind }, bytes);
    }
  }
}
