// SPDX-License-Identifier: Apache-2.0
// What each family of entry points costs, against the fake driver: `used` is what the slice's limit and cuMemGetInfo say.
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { readLedger } from '#native/cli/sessions/ledger.ts';
import { createSlice, PROGRAMS } from './slice.ts';
import type { Slice } from './slice.ts';
import { INVALID_VALUE, OK, OUT_OF_MEMORY, readSteps, steps, told } from './steps.ts';

const MIB = 2 ** 20;
const GIB = 2 ** 30;
const POOL = 32 * MIB;
const used = (bytes: number): string => `used ${bytes}`;

let slice: Slice;
const limited = (limits: Record<string, number | null> = { 0: GIB }): Slice => (slice = createSlice({ limits }));
afterEach(() => slice.remove());

type Row = [name: string, list: string[], expected: (number | string)[]];

const LINEAR: Row[] = [
  [
    'memory is charged in the driver’s steps of 512 bytes and given back',
    ['alloc:a:1000', 'info', 'free:a', 'info'],
    [OK, used(1024), OK, used(0)],
  ],
  [
    'the last byte is granted, one more is not',
    [`alloc:a:${GIB}`, 'alloc:b:1', 'info'],
    [OK, OUT_OF_MEMORY, used(GIB)],
  ],
  [
    'more than 1 MiB is charged by the pages of 2 MiB that it takes, to the last one of the slice',
    [
      `alloc:a:${MIB}`,
      'info',
      `alloc:b:${MIB + 512}`,
      'info',
      `managed:m:${2 * MIB + 1}`,
      'info',
      'pitch:p:512:4097',
      'info',
    ],
    [OK, used(MIB), OK, used(3 * MIB), OK, used(7 * MIB), OK, used(11 * MIB)],
  ],
  [
    'what is left of a page is nobody’s',
    [`alloc:a:${GIB - 3 * MIB}`, `alloc:b:${MIB + 1}`, 'alloc:c:1', 'info', 'free:b', `alloc:d:${2 * MIB}`, 'info'],
    [OK, OK, OUT_OF_MEMORY, used(GIB), OK, OK, used(GIB)],
  ],
  ['zero bytes are the driver’s error', ['alloc:a:0', 'info'], [INVALID_VALUE, used(0)]],
  ['a size near 2^64 is out of memory', ['alloc:a:18446744073709551615', 'info'], [OUT_OF_MEMORY, used(0)]],
  ['an address that is not ours goes to the driver', ['free-address:4096', 'info'], [INVALID_VALUE, used(0)]],
  [
    'a second free of the same gives nothing back twice',
    ['alloc:a:500', 'alloc:b:7', 'free:a', 'free:a', 'info'],
    [OK, OK, OK, INVALID_VALUE, used(512)],
  ],
  ['managed memory is charged in full', ['managed:a:3072', 'info', 'free:a', 'info'], [OK, used(3072), OK, used(0)]],
  [
    'pitched memory is charged with its padding',
    ['pitch:a:1000:100', 'info', 'free:a', 'info'],
    [OK, used(102_400), OK, used(0)],
  ],
  [
    'a pitch that overflows is out of memory',
    ['pitch:a:18446744073709551615:2', `pitch:b:${2 ** 40}:${2 ** 40}`, 'info'],
    [OUT_OF_MEMORY, OUT_OF_MEMORY, used(0)],
  ],
  ['host memory is not charged', ['host:1000000', 'info'], [OK, used(0)]],
];

// array:NAME:W:H:D:FORMAT:CHANNELS:FLAGS[:LEVELS]
const ARRAYS: Row[] = [
  ['one dimension, 8 bits', ['array:a:1000:0:0:1:1:0', 'info'], [OK, used(1000)]],
  [
    'two dimensions, four floats',
    ['array:a:100:50:0:0x20:4:0', 'info', 'array-end:a', 'info'],
    [OK, used(80_000), OK, used(0)],
  ],
  ['three dimensions, halves', ['array:a:10:10:10:0x10:2:0', 'info'], [OK, used(4000)]],
  ['layers', ['array:a:16:16:5:2:1:1', 'info'], [OK, used(2560)]],
  ['blocks of BC1 round up', ['array:a:5:5:0:0x91:1:0', 'info'], [OK, used(32)]],
  ['NV12 has a plane of half size', ['array:a:64:64:0:0xb0:3:0', 'info'], [OK, used(6144)]],
  ['a sparse array costs nothing', ['array:a:4096:4096:0:1:1:0x40', 'info'], [OK, used(0)]],
  [
    'a mipmap is the sum of its levels',
    ['mipmap:m:8:8:0:1:1:0:4', 'info', 'mipmap-end:m', 'info'],
    [OK, used(85), OK, used(0)],
  ],
  ['layers of a mipmap keep their number', ['mipmap:m:4:4:3:1:1:1:3', 'info'], [OK, used(63)]],
  [
    'a large one takes pages of 2 MiB',
    ['array:a:1024:1025:0:1:1:0', 'info', 'array-end:a', 'info'],
    [OK, used(2 * MIB), OK, used(0)],
  ],
  ['an array over quota', [`array:a:65536:65536:0:0x20:4:0`, 'info'], [OUT_OF_MEMORY, used(0)]],
  [
    'a shape that overflows',
    ['array:a:4611686018427387904:4611686018427387904:0:0x20:4:0', 'info'],
    [OUT_OF_MEMORY, used(0)],
  ],
];

const POOLS: Row[] = [
  [
    'a pool is charged by what it reserves',
    ['async:a:1000', 'info', `async:b:${40 * MIB}`, 'info'],
    [OK, used(POOL), OK, used(2 * POOL)],
  ],
  [
    'freed memory stays charged until a synchronisation lets it go',
    ['async:a:1000', 'async-free:a', 'info', 'sync', 'info'],
    [OK, OK, used(POOL), OK, used(0)],
  ],
  [
    'a release threshold keeps it',
    [`threshold:default:${POOL}`, 'async:a:1000', 'async-free:a', 'sync-all', 'info', 'trim:default:0', 'info'],
    [OK, OK, OK, OK, used(POOL), OK, used(0)],
  ],
  ['cuMemFree takes it too', ['async:a:1000', 'free:a', 'sync', 'info'], [OK, OK, OK, used(0)]],
  [
    'what a pool has cached is used before more is asked for',
    [`threshold:default:${GIB}`, `async:a:${GIB}`, 'async-free:a', 'sync', `async:b:${GIB}`, 'info'],
    [OK, OK, OK, OK, OK, used(GIB)],
  ],
  [
    'what a pool has cached makes room for others',
    [`threshold:default:${GIB}`, `async:a:${GIB}`, 'async-free:a', 'sync', `alloc:b:${GIB}`, 'info'],
    [OK, OK, OK, OK, OK, used(GIB)],
  ],
  ['over quota', [`alloc:a:${GIB - POOL + 1}`, 'async:b:1', 'info'], [OK, OUT_OF_MEMORY, used(GIB - POOL + 2 * MIB)]],
  [
    'a pool of the program, destroyed while memory of it is out',
    ['pool:p', 'from:a:1000:p', 'info', 'pool-end:p', 'info', 'async-free:a', 'info'],
    [OK, OK, used(POOL), OK, used(2 * MIB), OK, used(0)],
  ],
  [
    'what a destroyed pool holds goes with its last allocation, all of it',
    ['pool:p', `from:a:${3 * MIB}:p`, 'from:b:1000:p', 'pool-end:p', 'info', 'async-free:a', 'info', 'free:b', 'info'],
    [OK, OK, OK, OK, used(4 * MIB), OK, used(4 * MIB), OK, used(0)],
  ],
  [
    'a pool of the program, destroyed empty',
    ['pool:p', 'from:a:1000:p', 'async-free:a', 'info', 'pool-end:p', 'info'],
    [OK, OK, OK, used(POOL), OK, used(0)],
  ],
  ['a pool in host memory costs nothing', ['pool:p:2', 'from:a:1000:p', 'info'], [OK, OK, used(0)]],
  ['a captured allocation is a node, counted elsewhere', ['stream', 'capture:1000', 'info'], [OK, OK, used(0)]],
];

const VIRTUAL: Row[] = [
  [
    'memory is charged at its creation',
    [`create:h:${2 * MIB}`, 'info', 'release:h', 'info'],
    [OK, used(2 * MIB), OK, used(0)],
  ],
  [
    'mapped memory outlives its handle',
    [`create:h:${2 * MIB}`, 'map:v:h', 'release:h', 'info', 'unmap:v', 'info'],
    [OK, OK, OK, used(2 * MIB), OK, used(0)],
  ],
  [
    'a handle outlives its mappings',
    [`create:h:${2 * MIB}`, 'map:v:h', 'map:w:h', 'unmap:v', 'unmap:w', 'info', 'release:h', 'info'],
    [OK, OK, OK, OK, OK, used(2 * MIB), OK, used(0)],
  ],
  [
    'a handle retained by an inner address counts',
    [`create:h:${4 * MIB}`, 'map:v:h', 'release:h', `retain:r:v:${3 * MIB}`, 'unmap:v', 'info', 'release:r', 'info'],
    [OK, OK, OK, OK, OK, used(4 * MIB), OK, used(0)],
  ],
  [
    'a retained open handle counts twice',
    [`create:h:${2 * MIB}`, 'map:v:h', 'retain:r:v:0', 'release:h', 'unmap:v', 'info', 'release:r', 'info'],
    [OK, OK, OK, OK, OK, used(2 * MIB), OK, used(0)],
  ],
  [
    'an import of what the process itself exported holds it, mapped or not',
    [
      `create:h:${2 * MIB}`,
      'export:f:h',
      'import:i:f',
      'import:j:f',
      'shut:f',
      'release:h',
      'info',
      'map:v:i',
      'release:i',
      'release:j',
      'info',
      'unmap:v',
      'info',
    ],
    [OK, OK, OK, OK, OK, OK, used(2 * MIB), OK, OK, OK, used(2 * MIB), OK, used(0)],
  ],
  [
    'an import of what the process has let go of is another’s',
    [`create:h:${2 * MIB}`, 'export:f:h', 'release:h', 'info', 'import:i:f', 'info', 'release:i', 'info'],
    [OK, OK, OK, used(0), OK, used(0), OK, used(0)],
  ],
  ['host memory costs nothing', [`create:h:${2 * MIB}:2`, 'info'], [OK, used(0)]],
  ['a size that is no multiple of the granularity is rolled back', ['create:h:1000', 'info'], [INVALID_VALUE, used(0)]],
  ['over quota', [`create:h:${GIB}`, `create:i:${2 * MIB}`, 'info'], [OK, OUT_OF_MEMORY, used(GIB)]],
];

const CONTEXTS: Row[] = [
  [
    'the end of a context frees what was allocated in it',
    [
      'alloc:a:1024',
      'array:r:100:0:0:1:1:0',
      'mipmap:m:8:8:0:1:1:0:4',
      `create:h:${2 * MIB}`,
      'destroy:c',
      'context:d:0',
      'info',
    ],
    [OK, OK, OK, OK, OK, OK, used(2 * MIB)],
  ],
  [
    'another context keeps its own',
    ['alloc:a:1024', 'context:d:0', 'alloc:b:10', 'current:c', 'info', 'destroy:d', 'info'],
    [OK, OK, OK, OK, used(1536), OK, used(1024)],
  ],
  [
    'a reset of the primary context',
    ['primary:0', 'alloc:a:1024', 'info', 'reset:0', 'primary:0', 'info'],
    [OK, OK, used(1024), OK, OK, used(0)],
  ],
  [
    'the last release of the primary context',
    ['primary:0', 'primary:0', 'alloc:a:1024', 'leave:0', 'info', 'leave:0', 'primary:0', 'info'],
    [OK, OK, OK, OK, used(1024), OK, OK, used(0)],
  ],
];

describe.each([
  ['linear memory', LINEAR],
  ['arrays', ARRAYS],
  ['pools', POOLS],
  ['virtual memory', VIRTUAL],
  ['contexts', CONTEXTS],
])('%s', (_family, rows) => {
  test.each(rows)('%s', (_name, list, expected) => {
    expect(told(steps(limited(), list))).toEqual(expected);
  });
});

describe('a real call that fails', () => {
  const FAILING: [call: string, list: string[]][] = [
    ['cuMemAlloc_v2', ['alloc:a:1024']],
    ['cuMemAllocPitch_v2', ['pitch:a:1000:10']],
    ['cuMemAllocManaged', ['managed:a:1000']],
    ['cuArrayCreate_v2', ['array:a:10:10:0:1:1:0']],
    ['cuMipmappedArrayCreate', ['mipmap:a:8:8:0:1:1:0:4']],
    ['cuMemAllocAsync', ['async:a:1000']],
    ['cuMemCreate', [`create:a:${2 * MIB}`]],
  ];
  test.each(FAILING)('%s: the reservation is rolled back', (call, list) => {
    const [first, info] = told(steps(limited(), [...list, 'info'], { FAKE_CUDA_FAIL: `${call}:1` }));
    expect(first).not.toBe(OK);
    expect(info).toBe(used(0));
  });

  const KEPT: [call: string, list: string[], bytes: number][] = [
    ['cuMemFree_v2', ['alloc:a:1024', 'free:a'], 1024],
    ['cuArrayDestroy', ['array:a:10:10:0:1:1:0', 'array-end:a'], 100],
    ['cuMemRelease', [`create:a:${2 * MIB}`, 'release:a'], 2 * MIB],
    ['cuMemFreeAsync', ['async:a:1000', 'async-free:a'], POOL],
  ];
  test.each(KEPT)('%s: what was not freed stays charged, and is given back by the next', (call, list, bytes) => {
    const again = list.at(-1) ?? '';
    const got = told(steps(limited(), [...list, 'info', again, 'sync', 'info'], { FAKE_CUDA_FAIL: `${call}:1` }));
    expect(got[1]).not.toBe(OK);
    expect(got.slice(2)).toEqual([used(bytes), OK, OK, used(0)]);
  });
});

describe('a session whose ledger is gone', () => {
  const DENIED = [
    'alloc:a:1',
    'managed:a:1',
    'pitch:a:1:1',
    'array:a:1:0:0:1:1:0',
    'mipmap:a:1:1:0:1:1:0:1',
    'async:a:1',
    `create:a:${2 * MIB}`,
  ];

  test('denies every way of allocating, says so once, and lets the rest work', () => {
    rmSync(join(limited().folder, 'ledger'));
    const args = ['dlopen:libcuda.so.1', 'init', 'context:c:0', ...DENIED, 'host:1000', 'sync-all'];
    const run = slice.run(join(PROGRAMS, 'driver-steps'), args);
    expect(told(readSteps(run).slice(2))).toEqual([...DENIED.map(() => OUT_OF_MEMORY), OK, OK]);
    expect(run.stderr.trimEnd().split('\n')).toHaveLength(1);
  });
});

test('what goes by the quota is counted in the region', () => {
  expect(told(steps(limited(), ['stream', 'capture:1000', 'node:5000:0', 'external:777', 'info']))).toEqual([
    OK,
    OK,
    OK,
    OK,
    used(0),
  ]);
  const [device] = readLedger(
    readFileSync(join(slice.folder, 'ledger')),
    [{ device: '0', limit: GIB }],
    () => true,
  ).devices;
  expect(device?.unaccounted).toMatchObject({ graph: { bytes: 6000, calls: 2 }, external: { bytes: 777, calls: 1 } });
});

test('memory of another process costs its importer nothing, and closing it gives nothing back', () => {
  const file = join(limited().folder, 'handle');
  const there = ['init', 'context=c=0', `ipc-in=x=${file}`, 'info', 'free=x', 'ipc-close=x', 'info'];
  const all = steps(slice, ['alloc:a:1024', `ipc-out:a:${file}`, `run:${there.join(',')}`, 'info']);
  const inner = all.slice(2).map(({ step, status, values }) => (step === 'info' ? values.used : status));
  // The copy's first line stands behind the word that started it.
  expect(inner).toEqual([OK, OK, OK, 1024, INVALID_VALUE, OK, 1024, OK, 1024]);
});

describe('reports', () => {
  test('accept NULL and show the slice', () => {
    const got = steps(limited(), ['info-null', 'alloc:a:4096', 'info', 'total:0']);
    expect(told(got)).toEqual([OK, OK, used(4096), OK]);
    expect(got[2]?.values).toMatchObject({ total: GIB, free: GIB - 4096 });
    expect(got[3]?.values.total).toBe(GIB);
  });

  test('a limit above the card is the card', () => {
    const got = steps(limited({ 0: 64 * GIB }), ['info', 'total:0'], { FAKE_CUDA_MEMORY: String(8 * GIB) });
    expect(got.map(({ values }) => values.total)).toEqual([8 * GIB, 8 * GIB]);
  });
});

test('a child after fork holds nothing, and the parent goes on', () => {
  const args = ['dlopen:libcuda.so.1', 'init', 'context:c:0', 'alloc:a:1024', 'fork', 'info', 'free:a', 'info'];
  const run = limited().run(join(PROGRAMS, 'driver-steps'), args);
  const parent = run.stdout.slice(run.stdout.indexOf('parent fork'));
  expect(parent.split('\n')[0]).toBe('parent fork 0');
  const after = readSteps({ ...run, stdout: parent.slice(parent.indexOf('\n') + 1) });
  expect(told(after)).toEqual([used(1024), OK, used(0)]);
});
