// SPDX-License-Identifier: Apache-2.0
// RFC 6902 operations, made where something is changed: nothing is cloned and nothing compared that we did not touch.
import { escapePathComponent } from 'fast-json-patch';
import type { Operation } from 'fast-json-patch';

export class Patch {
  readonly operations: Operation[] = [];

  /** Adds a member or an item (before the one at that index; `-` is the end), or sets a member that is there. */
  add(path: string, value: unknown): void {
    this.operations.push({ op: 'add', path, value });
  }

  replace(path: string, value: unknown): void {
    this.operations.push({ op: 'replace', path, value });
  }

  remove(path: string): void {
    this.operations.push({ op: 'remove', path });
  }

  move(from: string, path: string): void {
    this.operations.push({ op: 'move', from, path });
  }

  /** A member of a map: added, replaced, or left as it is where it has the value already. */
  set(path: string, map: Readonly<Record<string, unknown>>, key: string, value: string): void {
    if (map[key] === value) return;
    const pointer = `${path}/${escapePathComponent(key)}`;
    if (Object.hasOwn(map, key)) this.replace(pointer, value);
    else this.add(pointer, value);
  }

  /** At the end of a list, which is made where it is not there. */
  append(path: string, list: readonly unknown[] | undefined, items: readonly unknown[]): void {
    if (items.length === 0) return;
    if (list === undefined || list === null) this.add(path, items);
    else for (const item of items) this.add(`${path}/-`, item);
  }
}
