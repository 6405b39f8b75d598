// SPDX-License-Identifier: Apache-2.0
import { execFileSync, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { makeControl, makeLedger } from '#native/cli/sessions/region.ts';

/** `asan`, `ubsan` or `tsan`: the same suite on that build. */
const variant = process.env['PENSTOCK_NATIVE_VARIANT'] ?? '';
export const BUILT = resolve(import.meta.dirname, '../../dist/native', variant);
/** What runs in a few seconds there takes a minute here: random runs and rounds are a tenth as many, figures of time ten times as long. */
const SLOWER = variant === '' ? 1 : 10;
export const rounds = (count: number): number => Math.ceil(count / SLOWER);
export const within = (time: number): number => time * SLOWER;
/** A sanitizer's runtime has to come before our objects, and then it is told what to do where it finds something. */
const sanitizer =
  variant === '' ? '' : execFileSync('gcc', [`-print-file-name=lib${variant}.so`], { encoding: 'utf8' }).trim();
const SANITIZER_OPTIONS: Readonly<Record<string, string>> =
  variant === ''
    ? {}
    : {
        // What the fake driver keeps until the end is no leak, threads made by a raw clone() cannot be asked, and a child is not the one to
        // wait for the threads that its parent had.
        ASAN_OPTIONS: 'detect_leaks=0:abort_on_error=1',
        UBSAN_OPTIONS: 'print_stacktrace=1:abort_on_error=1',
        TSAN_OPTIONS: 'halt_on_error=1:abort_on_error=1:report_thread_leaks=0',
      };
export const FAKES = join(BUILT, 'fake');
export const PROGRAMS = join(BUILT, 'programs');
/** Far above what any of the programs needs; one that hangs is a failure. */
const LIMIT_MS = 60_000;

export interface Run {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A session's folder without the command line's help: the two objects, and the region beside them. */
export interface Slice {
  readonly folder: string;
  readonly vram: string;
  readonly nvml: string;
  /** Runs a program inside the slice, on the fake machine, to its end. */
  run(program: string, args?: readonly string[], env?: Readonly<Record<string, string>>): Run;
  remove(): void;
}

export interface SliceOptions {
  /** Bytes by device: an ordinal or `GPU-…`; null is no limit. No entry at all: a folder without a region, so no quota. */
  readonly limits?: Readonly<Record<string, number | null>>;
  /** What cuDeviceTotalMem and NVML's total tell. */
  readonly report?: 'limit' | 'physical';
}

export function createSlice({ limits, report = 'limit' }: SliceOptions): Slice {
  const folder = mkdtempSync(join(tmpdir(), 'penstock-slice-'));
  const vram = join(folder, 'libpenstock_vram.so');
  const nvml = join(folder, 'libpenstock_nvml.so');
  mkdirSync(join(folder, 'work'));
  // Copies, as sessions have them: a link would cost each start of a process one more look-up.
  copyFileSync(join(BUILT, 'lib/libpenstock_vram.so'), vram);
  copyFileSync(join(BUILT, 'lib/libpenstock_nvml.so'), nvml);
  if (limits !== undefined) {
    const id = randomBytes(16).toString('hex');
    const devices = Object.entries(limits).map(([device, limit]) => ({ device, limit }));
    writeFileSync(join(folder, 'control'), makeControl({ id, limits: devices, report, managed: 'charged' }));
    writeFileSync(join(folder, 'ledger'), makeLedger(id));
  }
  return {
    folder,
    vram,
    nvml,
    run: (program, args = [], env = {}) => {
      return runFake(program, args, { LD_PRELOAD: `${vram}:${nvml}`, ...env });
    },
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

/** The environment of a program on the fake machine; `env` may name what is preloaded. */
export function fakeEnvironment(env: Readonly<Record<string, string>>): NodeJS.ProcessEnv {
  const { CUDA_VISIBLE_DEVICES: _visible, LD_PRELOAD: _preload, ...inherited } = process.env;
  const preload = [sanitizer, env['LD_PRELOAD'] ?? ''].filter(Boolean).join(':');
  return { ...inherited, LD_LIBRARY_PATH: FAKES, ...SANITIZER_OPTIONS, ...env, LD_PRELOAD: preload };
}

/** A program on the fake machine, with nothing preloaded. */
export function runFake(program: string, args: readonly string[], env: Readonly<Record<string, string>>): Run {
  const run = spawnSync(program, args, {
    env: fakeEnvironment(env),
    encoding: 'utf8',
    timeout: LIMIT_MS,
    killSignal: 'SIGKILL',
  });
  if (run.error !== undefined) throw run.error;
  return { status: run.status, signal: run.signal, stdout: run.stdout, stderr: run.stderr };
}
