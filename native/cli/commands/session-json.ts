// SPDX-License-Identifier: Apache-2.0
import { formatLimit } from '../limits.ts';
import type { Session } from '../sessions/store.ts';

/** A session as scripts see it; names and units are stable. */
export interface SessionJson {
  readonly name: string;
  readonly id: string;
  readonly state: string;
  readonly dir: string;
  readonly created: string;
  readonly ttlSeconds: number;
  /** Null while a process uses the session. */
  readonly expires: string | null;
  readonly ephemeral: boolean;
  readonly limits: readonly {
    readonly device: string;
    readonly limitBytes: number | null;
    readonly cards: readonly string[] | null;
  }[];
}

export function sessionJson({ dir, record, control }: Session): SessionJson {
  const { name, id, createdMs, ttlSeconds, idleUntilMs, ephemeral, limits } = record;
  return {
    name,
    id,
    state: control.state,
    dir,
    created: new Date(createdMs).toISOString(),
    ttlSeconds,
    expires: idleUntilMs === undefined ? null : new Date(idleUntilMs).toISOString(),
    ephemeral,
    limits: limits.map(({ device, limit, cards }) => ({ device, limitBytes: limit, cards: cards ?? null })),
  };
}

export function limitsText({ record }: Session): string {
  return record.limits.map(formatLimit).join(' ');
}
