// SPDX-License-Identifier: Apache-2.0
import { defineConfig } from 'vitest/config';

const seconds = 1000;
const folders = '{crds,lib,operator,webhook,gateway,worker-runtime,deploy,native,hack}';
const servers = ['test/servers/setup.ts'];
// What has to do with servers, processes and their times is run once more when it fails, and then named as FLAKY at the end of the run
// (hack/summary.ts): a machine that stands still for seconds is no bug of ours, and a test that often needs it is. Never what proves something by chance or by number: unit,
// conformance, native and chaos fail at the first violation.
const retry = 1;

// What is said of the ordinary object's file, of its start and of its speed is no matter of a sanitized one; the two that hold shadow memory leave no
// room for a limit of address space; ThreadSanitizer's build has no dlsym filter, so no linking matrix; and single steps (ledger-crash) would go through
// the runtime of the sanitizer.
const ofEveryBuild =
  '{hooks-accounting,hooks-devices,hooks-model,runtime,nvml,fake-driver,ledger-core,ledger-model,limit-holds,pool-race,process-holds,hostile-ledger,region-from-quota}';

/** The native suite on a build with a sanitizer; what counts rounds makes fewer of them (test/native/slice.ts). */
const sanitized = (variant: string) => ({
  test: {
    name: `native-${variant}`,
    include: [`test/native/${ofEveryBuild}.test.ts`],
    globalSetup: ['test/native/setup.ts'],
    env: { PENSTOCK_NATIVE_VARIANT: variant },
    pool: 'forks' as const,
    maxWorkers: 2,
    testTimeout: 240 * seconds,
    hookTimeout: 240 * seconds,
  },
});

export default defineConfig({
  test: {
    projects: [
      {
        // Beside the code: no servers, no processes. One context for all files, so they leave no global state.
        test: { name: 'unit', include: [`${folders}/**/*.test.ts`], isolate: false, testTimeout: 10 * seconds },
      },
      {
        test: {
          name: 'conformance',
          include: ['test/conformance/**/*.test.ts'],
          globalSetup: servers,
          testTimeout: 60 * seconds,
          hookTimeout: 60 * seconds,
        },
      },
      {
        // Processes of their own: these tests kill servers, count sockets and wait for leases. Two at a time on two cores.
        test: {
          name: 'integration',
          retry,
          include: ['test/integration/**/*.test.ts'],
          globalSetup: servers,
          pool: 'forks',
          maxWorkers: 2,
          testTimeout: 120 * seconds,
          hookTimeout: 120 * seconds,
        },
      },
      {
        // The preloaded object, its core and its command line against fake drivers: processes, no servers. Builds with make first.
        test: {
          name: 'native',
          include: ['test/native/**/*.test.ts'],
          globalSetup: ['test/native/setup.ts'],
          pool: 'forks',
          maxWorkers: 2,
          testTimeout: 120 * seconds,
          hookTimeout: 120 * seconds,
        },
      },
      ...['asan', 'ubsan', 'tsan'].map(sanitized),
      {
        // On a real node, one after another; its own set-up brings the node up.
        test: {
          name: 'e2e',
          retry,
          include: ['test/e2e/**/*.test.ts'],
          pool: 'forks',
          fileParallelism: false,
          testTimeout: 300 * seconds,
          hookTimeout: 300 * seconds,
        },
      },
    ],
  },
});
