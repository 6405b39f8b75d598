// SPDX-License-Identifier: Apache-2.0
// What must come of a run of steps (native/programs/ledger-model.c): plain sums over lists, no credit, no slots, no locks.

export const WORKERS = 4;
export const DEVICES = 2;
export const LIMIT = 1000;
const HELD = 256;

export type Step =
  | readonly ['a', worker: number, device: number, kind: number, bytes: number]
  | readonly ['x' | 'K', worker: number, device: number, bytes: number]
  | readonly ['f' | 't', worker: number, index: number]
  | readonly ['z', worker: number, index: number, bytes: number]
  | readonly ['o', worker: number, owner: number]
  | readonly ['k' | 'e' | 'n' | 'c' | 's' | 'u', worker: number]
  | readonly ['F', worker: number, child: number]
  | readonly ['l', device: number, bytes: number]
  | readonly ['q', state: 1 | 2 | 3];

export const written = (steps: readonly Step[]): string =>
  steps.map(([what, ...numbers]) => `${what}${numbers.join(',')}`).join(' ');

interface Held {
  readonly device: number;
  readonly owner: number;
  bytes: number;
}

interface Worker {
  held: Held[];
  stopped: boolean;
}

interface World {
  readonly workers: (Worker | undefined)[];
  readonly limits: number[];
  state: number;
}

function used(world: World, device: number): number {
  let sum = 0;
  for (const worker of world.workers)
    for (const held of worker?.held ?? []) if (held.device === device) sum += held.bytes;
  return sum;
}

/** Nothing is asked for: granted. More than there is, or a session that no longer lends: denied. */
function fits(world: World, device: number, bytes: number): boolean {
  if (bytes === 0) return true;
  return world.state === 1 && used(world, device) + bytes <= (world.limits[device] ?? 0);
}

function allocate(world: World, worker: Worker, device: number, owner: number, bytes: number): string {
  if (worker.held.length === HELD || !fits(world, device, bytes)) return 'd';
  worker.held.push({ device, owner, bytes });
  return 'g';
}

/** As the program does: the last one moves into the gap. */
function remove(worker: Worker, index: number): void {
  const last = worker.held.pop();
  if (last !== undefined && index < worker.held.length) worker.held[index] = last;
}

function resize(world: World, held: Held, bytes: number): string {
  if (bytes > held.bytes && !fits(world, held.device, bytes - held.bytes)) return 'd';
  held.bytes = bytes;
  return 'g';
}

function drop(worker: Worker, owner: number): string {
  const before = worker.held.length;
  for (let i = 0; i < worker.held.length;) {
    if (worker.held[i]?.owner === owner) remove(worker, i);
    else i++;
  }
  return String((before - worker.held.length) % 10);
}

function withOne(world: World, worker: Worker, step: Step & readonly ['f' | 't' | 'z', ...unknown[]]): string {
  if (worker.held.length === 0) return '-';
  const index = step[2] % worker.held.length;
  const held = worker.held[index] as Held;
  if (step[0] === 'z') return resize(world, held, step[3]);
  if (step[0] === 'f') remove(worker, index);
  return 'k';
}

function ofWorker(world: World, worker: Worker, step: Step): string {
  switch (step[0]) {
    case 'a':
      return allocate(world, worker, step[2], step[3], step[4]);
    case 'x':
      return fits(world, step[2], step[3]) ? 'g' : 'd';
    case 'f':
    case 't':
    case 'z':
      return withOne(world, worker, step);
    case 'o':
      return drop(worker, step[2]);
    case 'n':
      worker.held = [];
      return 'k';
    case 'F':
      if (world.workers[step[2]] !== undefined) return '-';
      world.workers[step[2]] = { held: [], stopped: false };
      return 'k';
    case 'K':
    case 'e':
      world.workers[step[1]] = undefined;
      return 'k';
    default:
      return 'k';
  }
}

function act(world: World, step: Step): string {
  if (step[0] === 'l') {
    world.limits[step[1]] = step[2];
    return 'k';
  }
  if (step[0] === 'q') {
    world.state = step[1];
    return 'k';
  }
  const worker = (world.workers[step[1]] ??= { held: [], stopped: false });
  if (step[0] === 'k') world.workers[step[1]] = undefined;
  else if (step[0] === 's' || step[0] === 'u') worker.stopped = step[0] === 's';
  else return worker.stopped ? '-' : ofWorker(world, worker, step);
  return 'k';
}

/** One word per step: the answer, and the bytes in use of each device after it (never more than the limit, as reported). */
export function expected(steps: readonly Step[]): string[] {
  const world: World = { workers: [], limits: Array.from({ length: DEVICES }, () => LIMIT), state: 1 };
  return steps.map((step) => {
    const answer = act(world, step);
    const bytes = world.limits.map((limit, device) => Math.min(limit, used(world, device)));
    return `${answer}:${bytes.join(',')}`;
  });
}
