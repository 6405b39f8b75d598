// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '#base/clock.ts';
import type { Executor, Outcome, WorkItem } from '#worker/executor.ts';
import { never } from './never.ts';
import { resultOf, taskOf } from './work.ts';

export interface FakeExecutorOptions {
  readonly unit: string;
  readonly slots: number;
  readonly batchSize: number;
  readonly clock: Clock;
  readonly isDead: () => boolean;
  /** A poisoned input takes the unit with it. */
  readonly die: () => void;
  /** Longer than a lease lasts; the unit keeps the lease alive meanwhile. */
  readonly slowMs: number;
  /** After which the host ends a hanging one, as production does it. */
  readonly hangMs: number;
}

const SERVICE_MICROS = 1_500;

/** Does what the body says, at once or on the schedule's clock. */
export function fakeExecutor(options: FakeExecutorOptions): Executor {
  const { unit, slots, batchSize, clock, isDead, die, slowMs, hangMs } = options;
  const outcomeOf = async (item: WorkItem): Promise<Outcome> => {
    const { n, deed } = taskOf(item.body);
    if (deed === 'poison') die();
    if (deed === 'slow' || deed === 'hang')
      await clock.sleep(deed === 'slow' ? slowMs : hangMs, item.signal).catch(() => undefined);
    if (isDead()) return await never();
    if (deed === 'hang') return failed('timeout', 'predict took too long');
    if (deed === 'input') return failed('input', 'this input is bad');
    if (deed === 'throw' || (deed === 'flaky' && item.attempt === 1)) return failed('handler', 'the handler threw');
    const body = resultOf({ n, id: item.id, unit, attempt: item.attempt }, deed);
    return { kind: 'succeeded', body, contentType: 'application/json', serviceMicros: SERVICE_MICROS };
  };
  return {
    slots,
    batchSize,
    start: async () => {},
    run: async (_slot, items, report) => {
      await Promise.all(items.map(async (item) => report(item, await outcomeOf(item))));
    },
    broken: never(),
    close: async () => {},
  };
}

function failed(kind: 'handler' | 'input' | 'timeout', message: string): Outcome {
  return { kind: 'failed', failure: { kind, message } };
}
