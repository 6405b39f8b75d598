// SPDX-License-Identifier: Apache-2.0
// T3: whichever way a program reaches the driver, it gets the hooks; whatever has nothing to do with the driver gets what it would have got.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BUILT, createSlice, FAKES, PROGRAMS, runFake } from './slice.ts';
import type { Run, Slice } from './slice.ts';
import { NO_DEVICE, NOT_INITIALIZED, OK, OUT_OF_MEMORY, readSteps } from './steps.ts';

const MIB = 2 ** 20;
const GIB = 2 ** 30;
const STEPS = ['init', 'context:c:0', `alloc:big:${GIB + 2 * MIB}`, 'alloc:small:1024', 'info'];
const ODD = join(BUILT, 'odd');
const program = (name: string): string => join(PROGRAMS, name);

let slice: Slice;
let open: Slice;
beforeAll(() => {
  slice = createSlice({ limits: { 0: GIB } });
  open = createSlice({});
});
afterAll(() => {
  slice.remove();
  open.remove();
});

const WAYS: [way: string, name: string, args: string[]][] = [
  ['linked with -lcuda', 'driver-steps-linked', ['linked']],
  ['linked, built for per-thread default streams', 'driver-steps-ptsz', ['linked']],
  ['dlopen("libcuda.so.1") and dlsym', 'driver-steps', ['dlopen:libcuda.so.1']],
  ['dlopen("libcuda.so"), the unversioned name', 'driver-steps', ['dlopen:libcuda.so']],
  ['dlopen by absolute path', 'driver-steps', [`dlopen:${FAKES}/libcuda.so.1`]],
  ['dlsym(RTLD_DEFAULT)', 'driver-steps', ['default']],
  ['cuGetProcAddress_v2, legacy stream by default', 'driver-steps', ['lookup:12000:0']],
  ['cuGetProcAddress_v2, legacy stream asked for', 'driver-steps', ['lookup:13000:1']],
  ['cuGetProcAddress_v2, per-thread stream', 'driver-steps', ['lookup:13000:2']],
  ['cuGetProcAddress of CUDA 11', 'driver-steps', ['lookup1:11030:0']],
  ['a plugin that is linked to the driver', 'driver-host', ['now', program('driver-plugin.so'), 'linked']],
  ['a plugin bound lazily', 'driver-host', ['lazy', program('driver-plugin.so'), 'linked']],
  ['a plugin opened with RTLD_DEEPBIND', 'driver-host', ['deep', program('driver-plugin.so'), 'linked']],
  [
    'a plugin opened with RTLD_DEEPBIND that looks names up',
    'driver-host',
    ['deep,global', program('driver-plugin.so'), 'dlopen:libcuda.so.1'],
  ],
  [
    'a plugin opened with RTLD_DEEPBIND that asks cuGetProcAddress',
    'driver-host',
    ['deep', program('driver-plugin.so'), 'lookup:13000:2'],
  ],
];

describe('a program that reaches the driver', () => {
  test.each(WAYS)('by %s is held to its slice', (_way, name, args) => {
    const got = readSteps(slice.run(program(name), [...args, ...STEPS]));
    expect(got.map(({ status }) => status)).toEqual([OK, OK, OUT_OF_MEMORY, OK, OK]);
    expect(got.at(-1)?.values).toMatchObject({ total: GIB, used: 1024 });
  });

  test.each(WAYS)('by %s sees the whole card where there is no quota', (_way, name, args) => {
    const got = readSteps(open.run(program(name), [...args, ...STEPS], { FAKE_CUDA_MEMORY: String(4 * GIB) }));
    expect(got.map(({ status }) => status)).toEqual([OK, OK, OK, OK, OK]);
    expect(got.at(-1)?.values).toMatchObject({ total: 4 * GIB, used: GIB + 2 * MIB + 1024 });
  });
});

describe('entry-point look-ups', () => {
  const QUESTIONS = [
    'cuMemAlloc:2000:0',
    'cuMemAlloc:3020:0',
    'cuMemAlloc:13000:2',
    'cuMemAllocAsync:11010:0',
    'cuMemAllocAsync:11020:0',
    'cuMemAllocAsync:11020:1',
    'cuMemAllocAsync:13000:2',
    'cuStreamSynchronize:12000:2',
    'cuGetProcAddress:11030:0',
    'cuGetProcAddress:12000:2',
    'cuCtxSynchronize:12000:0',
    'cuCtxSynchronize:13000:0',
    'cuLaunchKernel:12000:2',
    'cuMemAlloc_v2:12000:0',
    'cuNope:12000:0',
    'cuMemAlloc:99000:0',
  ];
  const HOOKED = /^cu(MemAlloc|StreamSynchronize|GetProcAddress|CtxSynchronize)/;

  test.each(['cuGetProcAddress', 'cuGetProcAddress_v2', 'cuGetProcAddress_v2_ptsz'])(
    '%s answers version, flags and status as the driver does, with our function of the same variant',
    (name) => {
      const real = runFake(program('entry-look-ups'), [name, ...QUESTIONS], {})
        .stdout.trim()
        .split('\n');
      const ours = slice
        .run(program('entry-look-ups'), [name, ...QUESTIONS])
        .stdout.trim()
        .split('\n');
      expect(real).toHaveLength(QUESTIONS.length);
      const expected = real.map((line) =>
        HOOKED.test(line) ? line.replace('libcuda.so.1', 'libpenstock_vram.so') : line,
      );
      expect(ours).toEqual(expected);
    },
  );

  test('a driver newer than this release: other new variants pass, ones that allocate are not found', () => {
    const env = { LD_LIBRARY_PATH: ODD };
    const args = [
      'cuGetProcAddress_v2',
      'cuMemAlloc:12000:0',
      'cuMemAlloc:15000:0',
      'cuMemAllocShiny:15000:0',
      'cuCtxCreate:15000:0',
    ];
    expect(slice.run(program('entry-look-ups'), args, env).stdout.trim().split('\n')).toEqual([
      'cuMemAlloc:12000:0 0 0 cuMemAlloc_v2 libpenstock_vram.so',
      'cuMemAlloc:15000:0 500 1 - -',
      'cuMemAllocShiny:15000:0 500 1 - -',
      'cuCtxCreate:15000:0 0 0 cuCtxCreate_v9 libcuda.so.1',
    ]);
    expect(open.run(program('entry-look-ups'), args, env).stdout).toContain(
      'cuMemAlloc:15000:0 0 0 cuMemAlloc_v9 libcuda.so.1',
    );
  });

  test('the look-up itself, as an inner address, keeps the flavour of streams asked for', () => {
    const args = ['cuGetProcAddress_v2', 'cuGetProcAddress:12000:2', 'cuGetProcAddress:12000:0'];
    expect(slice.run(program('entry-look-ups'), args, { LD_LIBRARY_PATH: ODD }).stdout.trim().split('\n')).toEqual([
      'cuGetProcAddress:12000:2 0 0 cuGetProcAddress_v2_ptsz libpenstock_vram.so',
      'cuGetProcAddress:12000:0 0 0 cuGetProcAddress_v2 libpenstock_vram.so',
    ]);
  });

  test('dlsym finds what the driver has and nothing else, and dlerror says so', () => {
    const names = ['cuInit', 'cuMemAlloc_v2', 'cuLaunchKernel', 'cuShine', 'cuMemAllocShiny', 'cuNope'];
    expect(
      slice
        .run(program('entry-look-ups'), ['dlsym', ...names], { LD_LIBRARY_PATH: ODD })
        .stdout.trim()
        .split('\n'),
    ).toEqual([
      'cuInit 0 -1 cuInit libpenstock_vram.so',
      'cuMemAlloc_v2 0 -1 cuMemAlloc_v2 libpenstock_vram.so',
      'cuLaunchKernel 1 -1 - - dlerror',
      'cuShine 0 -1 cuShine libcuda.so.1',
      'cuMemAllocShiny 1 -1 - - dlerror',
      'cuNope 1 -1 - - dlerror',
    ]);
  });
});

describe('per-thread default streams', () => {
  const ASYNC = ['init', 'context:c:0', 'async:a:1000', 'info', 'async-free:a', 'sync', 'info'];

  test.each([
    [
      'linked, built without',
      'driver-steps-linked',
      'linked',
      'cuMemAllocAsync',
      'cuMemFreeAsync',
      'cuStreamSynchronize',
    ],
    [
      'linked, built for',
      'driver-steps-ptsz',
      'linked',
      'cuMemAllocAsync_ptsz',
      'cuMemFreeAsync_ptsz',
      'cuStreamSynchronize_ptsz',
    ],
    [
      'looked up without a flag',
      'driver-steps',
      'lookup:12000:0',
      'cuMemAllocAsync',
      'cuMemFreeAsync',
      'cuStreamSynchronize',
    ],
    [
      'looked up with the flag',
      'driver-steps',
      'lookup:12000:2',
      'cuMemAllocAsync_ptsz',
      'cuMemFreeAsync_ptsz',
      'cuStreamSynchronize_ptsz',
    ],
  ])('%s: the driver gets the call that was meant, and it is charged', (_case, name, how, ...calls) => {
    const trace = join(slice.folder, `trace-${name}-${how}`);
    const got = readSteps(slice.run(program(name), [how, ...ASYNC], { FAKE_CUDA_TRACE: trace }));
    expect(got.map(({ status }) => status)).toEqual(ASYNC.map(() => OK));
    expect([got[3]?.values.used, got[6]?.values.used]).toEqual([32 * MIB, 0]);
    const called = readFileSync(trace, 'utf8')
      .split('\n')
      .map((line) => line.split(' ')[2] ?? '');
    expect(called.filter((call) => /^cu(MemAllocAsync|MemFreeAsync|StreamSynchronize)/.test(call))).toEqual(calls);
  });
});

describe('a chain of preloaded objects', () => {
  const chain = program('next-chain.so');
  const run = (order: string[]): Run =>
    slice.run(program('driver-steps-linked'), ['linked', ...STEPS], { LD_PRELOAD: order.join(':') });

  test('behind ours finds what comes after it', () => {
    const got = run([slice.vram, chain]);
    expect(readSteps(got).map(({ status }) => status)).toEqual([OK, OK, OUT_OF_MEMORY, OK, OK]);
    expect(got.stderr).toBe('next-chain: gethostname 1 cuMemAlloc_v2 0\n');
  });

  test('before ours gets each call first and hands it on to the hooks', () => {
    const got = run([chain, slice.vram]);
    expect(readSteps(got).map(({ status }) => status)).toEqual([OK, OK, OUT_OF_MEMORY, OK, OK]);
    expect(got.stderr).toBe('next-chain: gethostname 1 cuMemAlloc_v2 2\n');
  });
});

describe('where there is no driver', () => {
  const nowhere = { LD_LIBRARY_PATH: '/nonexistent' };

  test('cuInit says that there is no device, every other call fails, and errors have words', () => {
    const got = slice.run(
      program('driver-steps'),
      ['dlopen:libcuda.so.1', 'init', 'text:100', 'info', 'alloc:a:1', 'free-address:64'],
      nowhere,
    );
    expect(got.stderr).toBe('');
    expect(readSteps(got).map(({ status }) => status)).toEqual([
      NO_DEVICE,
      OK,
      NOT_INITIALIZED,
      NOT_INITIALIZED,
      NOT_INITIALIZED,
    ]);
    expect(got.stdout).toContain('"no CUDA-capable device is detected"');
  });

  test.each([
    ['there is none', nowhere],
    ['there is one', { LD_LIBRARY_PATH: FAKES }],
  ])(
    'a program that looks up names of its own gets the same answers as without us, and no driver is loaded, where %s',
    (_where, env) => {
      const without = runFake(program('no-driver'), [], env);
      const within = slice.run(program('no-driver'), [], env);
      expect(within).toEqual(without);
      expect(within.stdout).toContain('curl_easy_init missing undefined');
      expect(within.stdout).toContain('driver absent');
    },
  );
});
