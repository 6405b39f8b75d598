// SPDX-License-Identifier: Apache-2.0
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { Ajv } from 'ajv';
import type { InferenceApp } from '#crds/inference-app.gen.ts';

/** Another layout refuses to start: its uids are the identity of everything that is stored. */
const LEDGER_VERSION = 1;

/** One generation of an app that files brought. */
export interface LedgerEntry {
  readonly uid: string;
  /** Where it was read from last; while that file cannot be read the app is not taken for deleted. */
  readonly file: string;
  /** RFC 3339. */
  readonly createdAt: string;
  /** Raised when the spec changes, as the API server does. */
  readonly generation: number;
  /** The manifest as last seen good, defaults filled in; a deleted app is served from it until it is purged. */
  readonly manifest: InferenceApp;
  /** RFC 3339; set when its manifest has gone. */
  readonly deletedAt?: string;
}

interface Ledger {
  readonly version: number;
  readonly apps: readonly LedgerEntry[];
}

const isLedger = new Ajv({ strict: false }).compile<Ledger>({
  type: 'object',
  required: ['version', 'apps'],
  properties: {
    version: { type: 'integer' },
    apps: {
      type: 'array',
      items: { type: 'object', required: ['uid', 'file', 'createdAt', 'generation', 'manifest'] },
    },
  },
});

/** @throws Error when the file is of another version or not a ledger */
export function readLedger(file: string): readonly LedgerEntry[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (err) {
    if (err instanceof Error && 'code' in err && err.code === 'ENOENT') return [];
    throw err;
  }
  const ledger = parsed(text);
  if (!isLedger(ledger)) throw new Error(`${file} is not a ledger of apps; restore it, or remove the data folder`);
  if (ledger.version === LEDGER_VERSION) return ledger.apps;
  throw new Error(`${file} has version ${ledger.version}, this program reads ${LEDGER_VERSION}`);
}

/** Undefined for what is no JSON: like any other text, it is not a ledger. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Whole or not at all, and on disk before anything is accepted under a new uid. */
export function writeLedger(file: string, apps: readonly LedgerEntry[]): void {
  mkdirSync(dirname(file), { recursive: true });
  const temporary = `${file}.new`;
  writeSynced(temporary, JSON.stringify({ version: LEDGER_VERSION, apps } satisfies Ledger, undefined, 1));
  renameSync(temporary, file);
  const folder = openSync(dirname(file), 'r');
  fsyncSync(folder);
  closeSync(folder);
}

function writeSynced(file: string, text: string): void {
  const fd = openSync(file, 'w', 0o600);
  try {
    writeSync(fd, text);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
