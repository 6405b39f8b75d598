// SPDX-License-Identifier: Apache-2.0

/**
 * What ended a wait. `event`: the queue said that something may be leased. `passed`: another call of the group saw more than it could take.
 * `settled`: the unit itself gave up a lease. `app`: the app changed. `recheck`: it was this call's turn to look whether a message was lost.
 */
export type Woken = 'event' | 'passed' | 'settled' | 'app' | 'recheck' | 'time' | 'gone' | 'stop';
export type Wake = (why: Woken) => void;

/** Callers that can serve the same work: waking one of them is as good as waking another. */
export interface Group {
  generation: number;
  members: number;
  /** Oldest first, so that the unit that has waited longest goes next. */
  readonly parked: Set<Wake>;
  readonly recheck: NodeJS.Timeout;
}

/** The groups of each app that have members. */
export class Groups {
  readonly #byApp = new Map<string, Map<string, Group>>();
  readonly #recheckMs: number;

  /** @param recheckMs how often one of each group that waits is woken although no message came (DESIGN §3.8) */
  constructor(recheckMs: number) {
    this.#recheckMs = recheckMs;
  }

  join(appUid: string, name: string): Group {
    const groups = this.#byApp.get(appUid) ?? new Map<string, Group>();
    this.#byApp.set(appUid, groups);
    const group = groups.get(name) ?? this.#open();
    groups.set(name, group);
    group.members += 1;
    return group;
  }

  leave(appUid: string, name: string, group: Group): void {
    group.members -= 1;
    if (group.members > 0) return;
    clearInterval(group.recheck);
    const groups = this.#byApp.get(appUid);
    groups?.delete(name);
    if (groups?.size === 0) this.#byApp.delete(appUid);
  }

  signal(appUid: string, wake: (group: Group) => void): void {
    for (const group of this.#byApp.get(appUid)?.values() ?? []) {
      group.generation += 1;
      wake(group);
    }
  }

  apps(): readonly string[] {
    return [...this.#byApp.keys()];
  }

  all(): readonly Group[] {
    return [...this.#byApp.values()].flatMap((groups) => [...groups.values()]);
  }

  #open(): Group {
    const parked = new Set<Wake>();
    // One of the group looks for all of it: of a hundred idle units not a hundred ask every five seconds. It passes on what it finds.
    const recheck = setInterval(() => wakeOne({ parked }, 'recheck'), this.#recheckMs);
    return { generation: 0, members: 0, parked, recheck };
  }
}

export function wakeOne({ parked }: Pick<Group, 'parked'>, why: Woken): void {
  const [first] = parked;
  first?.(why);
}

export function wakeAll({ parked }: Pick<Group, 'parked'>, why: Woken): void {
  for (const wake of parked) wake(why);
}
