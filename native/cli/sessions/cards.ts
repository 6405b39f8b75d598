// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process';
import { EVERY_DEVICE } from '../limits.ts';
import type { DeviceLimit } from '../limits.ts';

/** One GPU of this machine, as the driver tells. */
export interface Card {
  readonly index: number;
  readonly uuid: string;
  readonly name: string;
  readonly memoryBytes: number;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** A driver that has to be woken (no persistence mode) takes a few seconds, one that hangs takes for ever. */
const QUERY_LIMIT_MS = 15_000;
const MIB = 2 ** 20;
const QUERY = ['--query-gpu=index,uuid,name,memory.total', '--format=csv,noheader,nounits'];
/** Where drivers put it that are not on the PATH: containers of the NVIDIA toolkit, WSL. */
const OTHER_FOLDERS = ['/usr/local/nvidia/bin', '/usr/lib/wsl/lib'];

/** Undefined where no driver can be asked: its program is missing, fails or hangs. */
export function listCards(env: Environment): Card[] | undefined {
  const path = [env['PATH'], ...OTHER_FOLDERS].filter(Boolean).join(':');
  // Without a session's objects: their nvidia-smi shows the share, and here the card counts.
  const { LD_PRELOAD: _dropped, ...rest } = env;
  const run = spawnSync('nvidia-smi', QUERY, {
    env: { ...rest, PATH: path },
    encoding: 'utf8',
    timeout: QUERY_LIMIT_MS,
    killSignal: 'SIGKILL',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  if (run.error !== undefined || run.status !== 0) return undefined;
  const cards = run.stdout.split('\n').flatMap(parseCard);
  return cards.length === 0 ? undefined : cards;
}

function parseCard(line: string): Card[] {
  const [index = '', uuid = '', ...rest] = line.split(',').map((field) => field.trim());
  const memory = Number(rest.at(-1));
  // `[N/A]` on cards that share the memory of the machine.
  if (!/^[0-9]+$/.test(index) || !uuid.startsWith('GPU-') || !(memory > 0)) return [];
  return [
    {
      index: Number(index),
      uuid: uuid.toLowerCase().replace('gpu-', 'GPU-'),
      name: rest.slice(0, -1).join(', '),
      memoryBytes: memory * MIB,
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

/** The cards that a limit holds for. */
export function cardsOf({ device }: DeviceLimit, cards: readonly Card[], env: Environment): Card[] {
  if (device === EVERY_DEVICE) return visibleCards(cards, env);
  if (/^[0-9]+$/.test(device)) return visibleCards(cards, env).slice(Number(device), Number(device) + 1);
  return cards.filter(({ uuid }) => uuid === device);
}
