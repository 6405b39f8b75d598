// SPDX-License-Identifier: Apache-2.0
import type { AppSource, ServedApp } from '../apps/app-source.ts';
import { RECHECK_MS } from '../limits.ts';
import type { LeaseQueue } from '../queue/lease-queue.ts';
import { Groups, wakeAll, wakeOne } from './lease-groups.ts';
import type { Group, Wake, Woken } from './lease-groups.ts';

/** One blocking lease call among those of its app, revision and lanes. */
export interface Seat {
  /** Counts the wake-ups: a caller that was asking the queue when one came asks again instead of parking. */
  generation(): number;
  /** Resolves at the next wake-up that is this caller's, after `ms`, or when `gone` fires; and says which it was. */
  park(ms: number, gone: AbortSignal): Promise<Woken>;
  /** This caller took all that it asked for, so there may be more: wakes up to two others, who do the same in their turn. */
  passOn(): void;
  /** What this caller was woken for may be for others only (a suspect is never given to a unit that holds something): wakes one more. */
  handOn(): void;
  leave(): void;
}

export interface LeaseWaiters {
  enter(appUid: string, unit: string, revision: string, lanes: readonly string[]): Seat;
  /**
   * This unit has given up a lease: its own waiting call asks again. While the unit held one, the queue had no verdict for it; with
   * none left its linger begins, and the queue can say when it ends.
   */
  settled(appUid: string, unit: string): void;
  /** Units that wait now. */
  readonly count: () => number;
  /** Answers everyone who waits; later calls do not wait. */
  stop(): void;
  stopped(): boolean;
}

/** What only this one call is woken for. */
interface Call {
  generation: number;
  wake: Wake;
}

/**
 * Blocked lease calls. A `ready` event wakes one waiter per group, however many wait: of a hundred idle units only one asks the
 * queue for the one request that came. Work for more spreads by `passOn`.
 */
export function createLeaseWaiters(
  queue: Pick<LeaseQueue, 'subscribe'>,
  apps: Pick<AppSource, 'onChange' | 'byUid'>,
  recheckMs: number = RECHECK_MS,
): LeaseWaiters {
  const groups = new Groups(recheckMs);
  const calls = new UnitCalls();
  let stopped = false;

  const unsubscribe = queue.subscribe((event) => {
    if (event.type === 'ready') groups.signal(event.app, (group) => wakeOne(group, 'event'));
  });
  // Pausing, draining, another floor or revision: the verdict may be another one for every unit of the app that changed.
  const seen = new Map<string, ServedApp | undefined>();
  const forget = apps.onChange(() => {
    const waitedFor = groups.apps();
    for (const appUid of waitedFor) {
      const app = apps.byUid(appUid);
      if (app !== seen.get(appUid)) groups.signal(appUid, (group) => wakeAll(group, 'app'));
      seen.set(appUid, app);
    }
    for (const appUid of seen.keys()) if (!waitedFor.includes(appUid)) seen.delete(appUid);
  });

  return {
    enter: (appUid, unit, revision, lanes) => {
      const name = `${revision} ${lanes.join()}`;
      const group = groups.join(appUid, name);
      const call = calls.enter(appUid, unit);
      if (!seen.has(appUid)) seen.set(appUid, apps.byUid(appUid));
      return {
        // Both only grow: the sum is another one after either kind of wake-up.
        generation: () => group.generation + call.generation,
        park: async (ms, gone) => {
          if (stopped) return 'stop';
          return gone.aborted ? 'gone' : await park(group, call, ms, gone);
        },
        passOn: () => {
          wakeOne(group, 'passed');
          wakeOne(group, 'passed');
        },
        handOn: () => wakeOne(group, 'passed'),
        leave: () => {
          groups.leave(appUid, name, group);
          calls.leave(appUid, unit, call);
        },
      };
    },
    settled: (appUid, unit) => calls.wake(appUid, unit),
    count: () => groups.all().reduce((n, { parked }) => n + parked.size, 0),
    stop: () => {
      stopped = true;
      unsubscribe();
      forget();
      for (const group of groups.all()) wakeAll(group, 'stop');
    },
    stopped: () => stopped,
  };
}

/** The waiting calls of each unit: one as a rule, two for a moment when a unit asks again after a broken connection. */
class UnitCalls {
  readonly #byUnit = new Map<string, Set<Call>>();

  enter(appUid: string, unit: string): Call {
    const key = `${appUid} ${unit}`;
    const call: Call = { generation: 0, wake: () => {} };
    this.#byUnit.set(key, (this.#byUnit.get(key) ?? new Set()).add(call));
    return call;
  }

  leave(appUid: string, unit: string, call: Call): void {
    const key = `${appUid} ${unit}`;
    const calls = this.#byUnit.get(key);
    calls?.delete(call);
    if (calls?.size === 0) this.#byUnit.delete(key);
  }

  wake(appUid: string, unit: string): void {
    for (const call of this.#byUnit.get(`${appUid} ${unit}`) ?? []) {
      call.generation += 1;
      call.wake('settled');
    }
  }
}

function park({ parked }: Group, call: Call, ms: number, gone: AbortSignal): Promise<Woken> {
  return new Promise((resolve) => {
    const wake = (why: Woken): void => {
      clearTimeout(timer);
      gone.removeEventListener('abort', hangUp);
      parked.delete(wake);
      call.wake = () => {};
      resolve(why);
    };
    const hangUp = (): void => wake('gone');
    const timer = setTimeout(() => wake('time'), ms);
    gone.addEventListener('abort', hangUp, { once: true });
    parked.add(wake);
    call.wake = wake;
  });
}
