// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import fc from 'fast-check';
import { afterEach, expect, test } from 'vitest';
import { DEVICES, expected, LIMIT, WORKERS, written } from './ledger-oracle.ts';
import type { Step } from './ledger-oracle.ts';
import { PROGRAMS, rounds } from './slice.ts';

const RUNS = rounds(10_000);
/** Two sessions at a time, as there are two CPUs. */
const DRIVERS = 2;
const program = join(PROGRAMS, 'ledger-model');

/** One session and what drives its processes; `happened` gives the answer and the bytes after each step. */
class Driver {
  readonly #directory = mkdtempSync(join(tmpdir(), 'penstock-ledger-'));
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #answers: AsyncIterator<string>;

  /** `refused`: system calls that the processes have to do without. */
  constructor(refused: readonly string[] = []) {
    this.#child = spawn(program, [this.#directory, ...refused], { stdio: ['pipe', 'pipe', 'pipe'] });
    this.#child.stderr.pipe(process.stderr);
    this.#answers = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  async happened(steps: readonly Step[]): Promise<string[]> {
    this.#child.stdin.write(`${written(steps)}\n`);
    const { value, done } = await this.#answers.next();
    if (done === true) throw new Error('ledger-model ended');
    return value.trim().split(' ');
  }

  async end(): Promise<void> {
    this.#child.stdin.end();
    if (this.#child.exitCode === null) await once(this.#child, 'exit');
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

const drivers: Driver[] = [];

afterEach(async () => {
  await Promise.all(drivers.splice(0).map((driver) => driver.end()));
});

const worker = fc.nat(WORKERS - 1);
const device = fc.nat(DEVICES - 1);
// Whole limits, halves, just too much, and crumbs: what meets at the limit.
const bytes = fc.oneof(
  fc.nat(LIMIT + 1),
  fc.nat(20),
  fc.constantFrom(0, 1, LIMIT / 2, LIMIT / 2 + 1, LIMIT, LIMIT + 1),
);
const kind = fc.integer({ min: 1, max: 3 });
const index = fc.nat(9);

const step = fc.oneof(
  { weight: 30, arbitrary: fc.tuple(fc.constant('a'), worker, device, kind, bytes) },
  { weight: 12, arbitrary: fc.tuple(fc.constant('f'), worker, index) },
  { weight: 4, arbitrary: fc.tuple(fc.constant('x'), worker, device, bytes) },
  { weight: 2, arbitrary: fc.tuple(fc.constant('t'), worker, index) },
  { weight: 4, arbitrary: fc.tuple(fc.constant('z'), worker, index, bytes) },
  { weight: 2, arbitrary: fc.tuple(fc.constant('o'), worker, kind) },
  { weight: 4, arbitrary: fc.tuple(fc.constantFrom('k', 'e', 'n'), worker) },
  { weight: 2, arbitrary: fc.tuple(fc.constant('K'), worker, device, bytes) },
  { weight: 3, arbitrary: fc.tuple(fc.constant('F'), worker, worker) },
  { weight: 1, arbitrary: fc.tuple(fc.constant('c'), worker) },
  { weight: 2, arbitrary: fc.tuple(fc.constantFrom('s', 'u'), worker) },
  { weight: 2, arbitrary: fc.tuple(fc.constant('l'), device, fc.nat(LIMIT * 2)) },
  { weight: 1, arbitrary: fc.tuple(fc.constant('q'), fc.constantFrom(1, 1, 2, 3)) },
) as fc.Arbitrary<Step>;

/** Runs on a driver of their own, until one is not as the oracle says. */
async function check(runs: number, refused?: string): Promise<void> {
  const driver = new Driver(refused === undefined ? [] : [refused]);
  drivers.push(driver);
  const property = fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 24 }), async (steps) => {
    expect(await driver.happened(steps)).toEqual(expected(steps));
  });
  await fc.assert(property, { numRuns: runs });
}

test(
  `bytes charged and answers are the oracle's after every step of ${RUNS} random runs of real processes`,
  { timeout: 300_000 },
  async () => {
    const checked = Promise.all(Array.from({ length: DRIVERS }, () => check(Math.ceil(RUNS / DRIVERS))));
    await expect(checked).resolves.toHaveLength(DRIVERS);
  },
);

test.each([
  ['threads that are not the C library’s', 'clone'],
  ['close_range', 'close_range'],
  ['MADV_WIPEONFORK', 'wipe'],
  ['any of these', 'clone,close_range,wipe'],
])('the same holds where the kernel does not allow %s', async (_, refused) => {
  await expect(check(rounds(150), refused)).resolves.toBeUndefined();
});

test.each<[string, Step[]]>([
  [
    'by the process that freed it',
    [
      ['a', 0, 0, 1, 1],
      ['l', 0, 0],
      ['a', 0, 1, 1, 1000],
      ['z', 0, 0, 0],
      ['a', 0, 0, 1, 1],
    ],
  ],
  [
    'beside one that holds all there is',
    [
      ['l', 0, 2000],
      ['a', 0, 0, 1, 1000],
      ['a', 1, 0, 1, 1000],
      ['l', 0, 1000],
      ['f', 0, 0],
      ['a', 0, 0, 1, 1000],
      ['f', 1, 0],
      ['a', 0, 0, 1, 1000],
    ],
  ],
])('what is freed above a limit that was lowered is not granted again, %s', async (_, steps) => {
  const driver = new Driver();
  drivers.push(driver);
  expect(await driver.happened(steps)).toEqual(expected(steps));
});
