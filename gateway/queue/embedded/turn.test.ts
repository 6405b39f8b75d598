// SPDX-License-Identifier: Apache-2.0
import { DatabaseSync } from 'node:sqlite';
import { expect, test } from 'vitest';
import { silentLogger } from '#base/logger.ts';
import type { QueueEvent } from '../lease-queue.ts';
import { Turn } from './turn.ts';

function setUp() {
  const db = new DatabaseSync(':memory:');
  db.exec('CREATE TABLE t (a INTEGER CHECK (a < 10))');
  const counts = { reloads: 0 };
  const turn = new Turn(db, () => counts.reloads++, silentLogger);
  const insert = (a: number): void => {
    db.prepare('INSERT INTO t VALUES (?)').run(a);
  };
  const rows = (): number => Number(db.prepare('SELECT count(*) AS n FROM t').get()?.['n']);
  return { db, turn, insert, rows, counts };
}

test('calls of one turn share a commit, and no answer and no event leaves before it', async () => {
  const { db, turn, insert, rows } = setUp();
  const seen: string[] = [];
  turn.subscribe((event) => seen.push(`${event.type} in transaction: ${db.isTransaction}`));
  const answers = [1, 2, 3].map((n) =>
    turn.run(() => {
      insert(n);
      turn.emit({ type: 'ready', app: 'a' });
      return db.isTransaction;
    }),
  );
  await Promise.resolve();
  expect([db.isTransaction, seen]).toEqual([true, []]);
  expect(await Promise.all(answers)).toEqual([true, true, true]);
  expect([db.isTransaction, rows()]).toEqual([false, 3]);
  expect(seen).toEqual(['ready in transaction: false']);
});

test('a failure takes the whole turn back, tells every caller of it and rebuilds the memory; the next turn works', async () => {
  const { turn, insert, rows, counts } = setUp();
  const events: QueueEvent[] = [];
  turn.subscribe((event) => events.push(event));
  const outcomes = await Promise.allSettled([
    turn.run(() => {
      insert(1);
      turn.emit({ type: 'ready', app: 'a' });
    }),
    turn.run(() => insert(99)),
  ]);
  const failures = outcomes.map((one) => one.status === 'rejected' && (one.reason as { code: string }).code);
  expect(failures).toEqual(['unavailable', 'unavailable']);
  expect([rows(), counts.reloads, events]).toEqual([0, 1, []]);
  await turn.run(() => insert(2));
  expect(rows()).toBe(1);
});

test('a commit that fails does the same', async () => {
  const { db, turn, insert, rows, counts } = setUp();
  db.exec('PRAGMA foreign_keys = ON');
  db.exec('CREATE TABLE parent (id INTEGER PRIMARY KEY)');
  db.exec('CREATE TABLE child (id INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED)');
  const failing = turn.run(() => {
    insert(1);
    db.exec('INSERT INTO child VALUES (7)');
  });
  await expect(failing).rejects.toMatchObject({ code: 'unavailable' });
  expect([rows(), counts.reloads]).toEqual([0, 1]);
});

test('a listener that throws disturbs nobody', async () => {
  const { turn } = setUp();
  const heard: string[] = [];
  turn.subscribe(() => {
    throw new Error('mine');
  });
  turn.subscribe((event) => heard.push(event.app));
  await turn.run(() => turn.emit({ type: 'ready', app: 'a' }));
  expect(heard).toEqual(['a']);
});

test('closing commits what is open and refuses the rest', async () => {
  const { turn, insert, rows } = setUp();
  const last = turn.run(() => insert(1));
  turn.close();
  await last;
  expect(rows()).toBe(1);
  await expect(turn.run(() => insert(2))).rejects.toMatchObject({ code: 'closed' });
});
