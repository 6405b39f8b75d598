// SPDX-License-Identifier: Apache-2.0
import { copyFileSync, existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { Clock } from '#base/clock.ts';
import { silentLogger } from '#base/logger.ts';
import type { LeaseQueue } from '#gateway/queue/lease-queue.ts';
import { openEmbeddedQueue } from '#gateway/queue/open.ts';
import type { Backend, QueueHandle } from './backend.ts';

/** Rows of these say something of a deployment or of an app as a whole, not of a request; what was learned of service times is kept. */
const LASTING = { app: ['meta', 'app', 'estimate'], purged: ['meta', 'app'] } as const;

/**
 * One gateway at a time, as in standalone. Its death leaves what the operating system has been given so far, no more: the file and its
 * log are copied at that moment, in the middle of a turn or not, and the next gateway opens the copy.
 */
export function embeddedBackend(dir: string, clock: Clock): Backend {
  let number = 0;
  let file = join(dir, 'queue-0.db');
  let current: LeaseQueue | undefined;
  const old: LeaseQueue[] = [];

  const sever = (queue: LeaseQueue): void => {
    if (current !== queue) return;
    const next = join(dir, `queue-${++number}.db`);
    copyDatabase(file, next);
    file = next;
    old.push(queue);
    current = undefined;
  };
  const open = async (): Promise<QueueHandle> => {
    const queue = openEmbeddedQueue({ file, clock, logger: silentLogger });
    current = queue;
    return { queue, setRate: () => {}, sever: () => sever(queue) };
  };
  return {
    gateways: 1,
    open,
    view: () => {
      // Between two gateways: as the last one left it.
      const queue = current ?? old.at(-1);
      if (queue === undefined) throw new Error('no gateway has opened the queue yet');
      return queue;
    },
    // What is swept must be the file that is looked at afterwards, also when the last gateway died on the way.
    revive: () => {
      current ??= openEmbeddedQueue({ file, clock, logger: silentLogger });
    },
    leftovers: async (of) => {
      const copy = join(dir, 'looked-at.db');
      copyDatabase(file, copy);
      return rowsOf(copy, LASTING[of]);
    },
    close: async () => {
      for (const queue of old) await queue.close();
      await current?.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

function copyDatabase(from: string, to: string): void {
  for (const part of ['', '-wal', '-journal']) {
    rmSync(to + part, { force: true });
    if (existsSync(from + part)) copyFileSync(from + part, to + part);
  }
}

function rowsOf(file: string, lasting: readonly string[]): string[] {
  const database = new DatabaseSync(file);
  try {
    const tables = database.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").all();
    return tables
      .map(({ name }) => String(name))
      .filter((table) => !lasting.includes(table))
      .flatMap((table) =>
        database
          .prepare(`SELECT * FROM "${table}" LIMIT 5`)
          .all()
          .map((row) => `${table} ${JSON.stringify(row)}`),
      );
  } finally {
    database.close();
  }
}
