// SPDX-License-Identifier: Apache-2.0
import { isObject } from '#base/json.ts';
import { VramError } from '../errors.ts';
import type { DeviceLimit } from '../limits.ts';
import type { ProcessId } from '../processes.ts';
import type { ObjectDigest } from './objects.ts';

/** Raised when an older penstock-vram could misread what is written. */
const RECORD_VERSION = 1;
/** Folder, label and word in LD_PRELOAD at once: no blanks, no separators, no leading dash or dot. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;
/** Programs that `run` and `attach` have started and that may live; the dead ones are dropped with each new one. */
export const MAX_RUNS = 4096;

/** What the user asked for, and what is known of who uses it: `session.json`. Limits in force and state stand in the control page. */
export interface SessionRecord {
  readonly name: string;
  /** 16 random bytes in hexadecimal digits. */
  readonly id: string;
  readonly createdMs: number;
  readonly ttlSeconds: number;
  /** Ends with its processes: made by `run` without a name. */
  readonly ephemeral: boolean;
  readonly limits: readonly SessionLimit[];
  /** What is preloaded: a session whose objects are gone or others would start programs without a limit. */
  readonly objects: readonly ObjectDigest[];
  /** While no process lives: when the session ends, in milliseconds. Undefined while it was in use at the last look. */
  readonly idleUntilMs?: number;
  readonly runs: readonly Run[];
}

export interface Run extends ProcessId {
  /** When it was entered; undefined in records of before there was such an entry. */
  readonly sinceMs?: number;
}

export interface SessionLimit extends DeviceLimit {
  /** UUIDs of the cards that the limit holds for, where the driver could be asked. */
  readonly cards?: readonly string[];
  /** Those of them whose memory it is counted against; absent: all. */
  readonly counted?: readonly string[];
}

export function checkName(name: string): string {
  if (NAME.test(name)) return name;
  throw new VramError('usage', `${JSON.stringify(name)} cannot be the name of a session`, {
    fix: 'letters, digits, dots, dashes and underscores, at most 63, the first one a letter or digit',
  });
}

export function formatRecord(record: SessionRecord): Uint8Array {
  return Buffer.from(`${JSON.stringify({ version: RECORD_VERSION, ...record }, null, 2)}\n`);
}

/** @throws VramError `damaged` naming the field; the text may be anything */
export function parseRecord(bytes: Uint8Array, path: string): SessionRecord {
  const damaged = (what: string): VramError =>
    new VramError('damaged', `${path}: ${what}`, { fix: 'penstock-vram release --force takes the session away' });
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch {
    throw damaged('it is not JSON');
  }
  if (!isObject(value)) throw damaged('it is not an object');
  if (value['version'] !== RECORD_VERSION) throw damaged('it is of a version that this penstock-vram does not know');
  const wrong = Object.entries(RULES).find(([field, rule]) => !rule(value[field]));
  if (wrong !== undefined) throw damaged(`${wrong[0]} is not what it should be`);
  return value as unknown as SessionRecord;
}

const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;
/** What a Date can hold. */
const isTime = (value: unknown): boolean => isCount(value) && (value as number) <= 8.64e15;

const RULES: Readonly<Record<string, (value: unknown) => boolean>> = {
  name: (value) => typeof value === 'string' && NAME.test(value),
  id: (value) => typeof value === 'string' && /^[0-9a-f]{32}$/.test(value),
  createdMs: isTime,
  ttlSeconds: (value) => isCount(value) && (value as number) <= 1e9,
  ephemeral: (value) => typeof value === 'boolean',
  limits: (value) => Array.isArray(value) && value.length > 0 && value.length <= 64 && value.every(isLimit),
  objects: (value) => Array.isArray(value) && value.length <= 8 && value.every(isObjectDigest),
  idleUntilMs: (value) => value === undefined || isTime(value),
  runs: (value) => Array.isArray(value) && value.length <= MAX_RUNS && value.every(isRun),
};

function isLimit(value: unknown): boolean {
  if (!isObject(value) || typeof value['device'] !== 'string') return false;
  const { limit, cards, counted } = value;
  return (limit === null || isCount(limit)) && [cards, counted].every((list) => list === undefined || areCards(list));
}

function isObjectDigest(value: unknown): boolean {
  return isObject(value) && typeof value['name'] === 'string' && typeof value['sha256'] === 'string';
}

function areCards(value: unknown): boolean {
  return Array.isArray(value) && value.length <= 64 && value.every((card) => typeof card === 'string');
}

function isRun(value: unknown): boolean {
  if (!isObject(value)) return false;
  const { pid, start, boot, namespace, sinceMs } = value;
  if (namespace !== undefined && typeof namespace !== 'string') return false;
  if (sinceMs !== undefined && !isTime(sinceMs)) return false;
  return Number.isSafeInteger(pid) && (pid as number) > 0 && typeof start === 'string' && typeof boot === 'string';
}
