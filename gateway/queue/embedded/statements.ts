// SPDX-License-Identifier: Apache-2.0
import type { DatabaseSync, StatementSync } from 'node:sqlite';

/** Each statement is prepared once. */
export class Statements {
  readonly #db: DatabaseSync;
  readonly #prepared = new Map<string, StatementSync>();

  constructor(db: DatabaseSync) {
    this.#db = db;
  }

  of(text: string): StatementSync {
    const known = this.#prepared.get(text);
    if (known !== undefined) return known;
    const prepared = this.#db.prepare(text);
    this.#prepared.set(text, prepared);
    return prepared;
  }
}
