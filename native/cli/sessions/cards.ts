// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process';
import { EVERY_DEVICE } from '../limits.ts';
import type { DeviceLimit } from '../limits.ts';

/** One GPU of this machine, as the driver tells. */
export interface Card {
  /** Its place in the order of the PCI bus, as nvidia-smi counts. */
  readonly index: number;
  readonly uuid: string;
  readonly name: string;
  /** Null where the driver does not tell: cards that share the memory of the machine. */
  readonly memoryBytes: number | null;
  /** Programs see instances of it, which have UUIDs of their own. */
  readonly mig: boolean;
}

export type Environment = Readonly<Record<string, string | undefined>>;

/** A driver that has to be woken (no persistence mode) takes a few seconds, one that hangs takes for ever. */
const QUERY_LIMIT_MS = 15_000;
const MIB = 2 ** 20;
/** Drivers before 450 know no MIG, and refuse a query that names it. */
const QUERIES = ['index,uuid,mig.mode.current,name,memory.total', 'index,uuid,name,memory.total'] as const;
const MIG_MODE = /^(?:Enabled|Disabled|\[?(?:N\/A|Not Supported)\]?)$/;
/** Where drivers put it that are not on the PATH: containers of the NVIDIA toolkit, WSL. */
const OTHER_FOLDERS = ['/usr/local/nvidia/bin', '/usr/lib/wsl/lib'];

/** Undefined where no driver can be asked: its program is missing, fails or hangs, or tells of a card without its UUID. */
export function listCards(env: Environment): Card[] | undefined {
  const path = [env['PATH'], ...OTHER_FOLDERS].filter(Boolean).join(':');
  // Without a session's objects: their nvidia-smi shows the share, and here the card counts.
  const { LD_PRELOAD: _dropped, ...rest } = env;
  for (const fields of QUERIES) {
    const run = spawnSync('nvidia-smi', [`--query-gpu=${fields}`, '--format=csv,noheader,nounits'], {
      env: { ...rest, PATH: path },
      encoding: 'utf8',
      timeout: QUERY_LIMIT_MS,
      killSignal: 'SIGKILL',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    if (run.error !== undefined) return undefined;
    if (run.status === 0) return parseCards(run.stdout);
  }
  return undefined;
}

/** All of them or none: a card that is left out would be refused to every program. */
export function parseCards(text: string): Card[] | undefined {
  const lines = text.split('\n').filter((line) => /^\s*[0-9]+\s*,/.test(line));
  const cards = lines.flatMap(parseCard);
  return cards.length === 0 || cards.length < lines.length ? undefined : cards;
}

function parseCard(line: string): Card[] {
  const [index = '', uuid = '', ...rest] = line.split(',').map((field) => field.trim());
  if (!uuid.startsWith('GPU-')) return [];
  const mode = MIG_MODE.test(rest[0] ?? '') ? rest.shift() : undefined;
  const memory = Number(rest.at(-1));
  return [
    {
      index: Number(index),
      uuid: uuid.toLowerCase().replace('gpu-', 'GPU-'),
      name: rest.slice(0, -1).join(', '),
      memoryBytes: memory > 0 ? memory * MIB : null,
      mig: mode === 'Enabled',
    },
  ];
}

/** The cards that a program of this environment sees, in the order in which it counts them. */
export function visibleCards(cards: readonly Card[], env: Environment): Card[] {
  const wanted = env['CUDA_VISIBLE_DEVICES'];
  if (wanted === undefined) return [...cards];
  const seen: Card[] = [];
  for (const word of wanted.split(',').map((part) => part.trim())) {
    const card = cards.find(({ index, uuid }) =>
      /^[0-9]+$/.test(word) ? index === Number(word) : word !== '' && uuid.startsWith(word),
    );
    // CUDA stops at the first word that names no device.
    if (card === undefined) break;
    seen.push(card);
  }
  return seen;
}

/** The cards that a limit holds for, whatever a process sees of them and in which order. */
export function cardsOf({ device }: DeviceLimit, cards: readonly Card[]): Card[] {
  if (device === EVERY_DEVICE) return [...cards];
  return cards.filter(({ index, uuid }) => uuid === device || String(index) === device);
}
