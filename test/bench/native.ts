// SPDX-License-Identifier: Apache-2.0
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import type { ChildProcessByStdio } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import build from '#test/native/setup.ts';
import { BUILT, createSlice, FAKES } from '#test/native/slice.ts';
import type { Slice } from '#test/native/slice.ts';
import type { Report } from './report.ts';
import { median, quantile } from './statistics.ts';

const GIB = 2 ** 30;
/** Nobody is refused anything here. */
const LIMIT = 64 * GIB;
const BENCH = join(BUILT, 'bench');
/** One round of each case after another, again and again: a busy moment of the machine falls on all of them. */
const ROUNDS = 501;
/**
 * Of nanoseconds: a core that another tenant's hyperthread shares does half as much in them, which no order of rounds evens out. The fastest
 * tenth of the rounds is what the code costs; the medians stand beside it.
 */
const QUIET = 0.1;
const START_UPS = 1000;

/** What `pairs` does: see native/bench/pairs.c. */
interface Case {
  readonly place: 'bare' | 'open' | 'slice';
  readonly live?: number;
  readonly pairs?: number;
  readonly processes?: number;
  readonly threads?: number;
  readonly mode?: string;
}

/** Nanoseconds of one call (or alloc+free pair), and of two atomic read-modify-writes in the same process, by round. */
interface Times {
  readonly call: number;
  readonly unit: number;
}

interface Places {
  readonly slice: Slice;
  readonly open: Slice;
}

/** What the quota costs a program: each figure against a primitive, or the same without us, on the same machine in the same minute. */
export async function benchNative(report: Report): Promise<void> {
  build();
  const places = { slice: createSlice({ limits: { 0: LIMIT } }), open: createSlice({}) };
  report.note(
    `alloc+free pairs against a fake driver, ${ROUNDS} rounds by turns: medians, and the ratios of the fastest tenth`,
  );
  try {
    for (const live of [1, 1000, 10_000]) await benchPairs(report, places, live);
    await benchOthers(report, places);
    benchStartUp(report, places.slice);
  } finally {
    places.slice.remove();
    places.open.remove();
  }
}

/** A process that measures one round whenever it is told to. */
class Bencher {
  readonly times: Times[] = [];
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: AsyncIterator<string>;

  constructor({ slice, open }: Places, { place, live = 1, pairs = 5000, processes = 1, threads = 1, mode = '' }: Case) {
    const { LD_PRELOAD: _preload, CUDA_VISIBLE_DEVICES: _visible, ...inherited } = process.env;
    const preload = { bare: {}, open: { LD_PRELOAD: preloadOf(open) }, slice: { LD_PRELOAD: preloadOf(slice) } }[place];
    const env = { ...inherited, LD_LIBRARY_PATH: FAKES, FAKE_CUDA_MEMORY: String(2 * LIMIT), ...preload };
    const args = [live, pairs, processes, threads, mode].map(String);
    this.#child = spawn(join(BENCH, 'pairs'), args, { env, stdio: ['pipe', 'pipe', 'inherit'] });
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  async round(): Promise<void> {
    this.#child.stdin.write('\n');
    const { value } = await this.#lines.next();
    const [, call, unit] = /^call ([\d.]+) unit ([\d.]+)$/.exec(String(value)) ?? [];
    if (call === undefined || unit === undefined) throw new Error(`pairs: ${String(value)}`);
    this.times.push({ call: Number(call), unit: Number(unit) });
  }

  end(): void {
    this.#child.kill('SIGKILL');
  }

  call = (): number => median(this.times.map(({ call }) => call));
  unit = (): number => median(this.times.map(({ unit }) => unit));
}

const preloadOf = ({ vram, nvml }: Slice): string => `${vram}:${nvml}`;

async function byTurns<Name extends string>(
  places: Places,
  cases: Readonly<Record<Name, Case>>,
): Promise<Record<Name, Bencher>> {
  const entries = (Object.entries(cases) as [Name, Case][]).map(
    ([name, what]) => [name, new Bencher(places, what)] as const,
  );
  try {
    for (let i = 0; i <= ROUNDS; i += 1) for (const [, bencher] of entries) await bencher.round();
  } finally {
    for (const [, bencher] of entries) bencher.end();
  }
  // The first round finds cold caches and a slot to be taken.
  for (const [, { times }] of entries) times.shift();
  return Object.fromEntries(entries) as Record<Name, Bencher>;
}

const quiet = (times: readonly number[]): number => quantile(times, QUIET);

/** What `ours` adds to `bare`, in units of the same process. */
function added(ours: Bencher, bare: Bencher): number {
  const call = ({ times }: Bencher): number => quiet(times.map((round) => round.call));
  return (call(ours) - call(bare)) / quiet(ours.times.map(({ unit }) => unit));
}

/** The same by the medians of all rounds. */
function usuallyAdded(ours: Bencher, bare: Bencher): number {
  return median(ours.times.map(({ call, unit }, at) => (call - (bare.times[at]?.call ?? 0)) / unit));
}

/** The same round of two cases, one divided by the other. */
function quotient(above: Bencher, below: Bencher): number {
  return median(above.times.map(({ call }, at) => call / (below.times[at]?.call ?? 0)));
}

const ns = (value: number): string => `${value.toFixed(1)} ns`;

async function benchPairs(report: Report, places: Places, live: number): Promise<void> {
  const { bare, open, slice } = await byTurns(places, {
    bare: { place: 'bare', live },
    open: { place: 'open', live },
    slice: { place: 'slice', live },
  });
  const name = `native-pair-${live}-live`;
  report.note(
    `${name}: driver ${ns(bare.call())}, no quota ${ns(open.call())}, quota ${ns(slice.call())}, unit ${ns(slice.unit())}, ` +
      `by these ${usuallyAdded(slice, bare).toFixed(2)}`,
  );
  report.ratio(name, added(slice, bare), '<=', 4);
  if (live === 1) report.ratio('native-pass-through', added(open, bare), '<=', 0.5);
}

async function benchOthers(report: Report, places: Places): Promise<void> {
  const { one, two, threads, bareThreads, info, daemon } = await byTurns(places, {
    one: { place: 'slice' },
    two: { place: 'slice', processes: 2 },
    threads: { place: 'slice', threads: 4, pairs: 5000 },
    bareThreads: { place: 'bare', threads: 4, pairs: 5000 },
    info: { place: 'slice', mode: 'info' },
    daemon: { place: 'bare', mode: 'daemon', pairs: 200 },
  });
  report.note(
    `one process ${ns(one.call())}, two ${ns(two.call())}; four threads ${ns(threads.call())}, the driver's own ${ns(bareThreads.call())}`,
  );
  report.ratio('native-two-processes', quotient(two, one), '<=', 1.2);
  report.ratio('native-four-threads', quotient(threads, bareThreads), '<=', 2.5);
  report.note(`cuMemGetInfo ${ns(info.call())}; a pair by way of a daemon ${ns(daemon.call())}`);
  report.ratio('native-mem-get-info', median(info.times.map(({ call, unit }) => call / unit)), '<=', 30);
  report.ratio('native-daemon-vs-ours', quotient(daemon, one), '>=', 50);
}

interface StartUp {
  readonly without: string;
  readonly within: string;
  readonly quotient: number;
}

function timeStartUp(preload: string): StartUp {
  const args = [String(START_UPS), preload, join(BENCH, 'trivial')];
  const { status, stdout, stderr } = spawnSync(join(BENCH, 'start-up'), args, { encoding: 'utf8' });
  const [, without, within, quotient] = /^without ([\d.]+) with ([\d.]+) quotient ([\d.]+)$/m.exec(stdout) ?? [];
  if (status !== 0 || without === undefined || within === undefined) throw new Error(`start-up: ${status} ${stderr}`);
  return { without, within, quotient: Number(quotient) };
}

/** A process that never touches CUDA, from its start to its end, both objects preloaded as `penstock-vram run` does. */
function benchStartUp(report: Report, slice: Slice): void {
  const empty = ['empty-1.so', 'empty-2.so'].map((name) => join(slice.folder, name));
  for (const path of empty) execFileSync('gcc', ['-shared', '-nostdlib', '-s', '-x', 'c', '/dev/null', '-o', path]);
  const floor = timeStartUp(empty.join(':'));
  const { without, within, quotient } = timeStartUp(preloadOf(slice));
  report.note(`a process without CUDA, ${START_UPS} runs by turns: ${without} µs, within a session ${within} µs`);
  report.note(`two empty objects preloaded: ${floor.quotient.toFixed(2)} times as long as none`);
  report.ratio('native-start-up', quotient, '<=', 1.1);
}
