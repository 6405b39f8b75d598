// SPDX-License-Identifier: Apache-2.0
// cli-crash.child STATE_DIR LIB_DIR SCENARIO N: changes sessions with a disk on which the N-th step is the last one: the process is
// killed before it (N counts half steps, so that it is killed in the middle of a write too). Prints "done" when it gets to the end.
import * as fs from 'node:fs';
import { systemDisk } from '#native/cli/sessions/disk.ts';
import type { Disk } from '#native/cli/sessions/disk.ts';
import { addRun, release, sweep } from '#native/cli/sessions/lifecycle.ts';
import { readObjects } from '#native/cli/sessions/objects.ts';
import { openLocked } from '#native/cli/sessions/open-session.ts';
import { SessionStore } from '#native/cli/sessions/store.ts';
import { CRASH_REQUEST, contextOf } from './cli.ts';

const [stateDir = '', libDir = '', scenario = '', count = '0'] = process.argv.slice(2);
let left = Number(count);

function die(): never {
  process.kill(process.pid, 'SIGKILL');
  // The signal is delivered before the call returns; nothing below is reached.
  for (;;);
}

/** Two half steps: before, and (by `half`) in the middle. */
function step(whole: () => void, half: () => void = whole): void {
  left -= 1;
  if (left === 0) die();
  left -= 1;
  if (left === 0) {
    try {
      half();
    } finally {
      die();
    }
  }
  whole();
}

const deadly: Disk = {
  mkdir: (path) => step(() => systemDisk.mkdir(path)),
  create: (path, bytes) =>
    step(
      () => systemDisk.create(path, bytes),
      () => fs.writeFileSync(path, bytes.subarray(0, bytes.length >> 1), { mode: 0o600 }),
    ),
  overwrite: (fd, bytes, position) => step(() => systemDisk.overwrite(fd, bytes, position)),
  rename: (from, to) => step(() => systemDisk.rename(from, to)),
  syncDir: (path) => step(() => systemDisk.syncDir(path)),
  removeTree: (path) =>
    step(
      () => systemDisk.removeTree(path),
      () => {
        const [first] = fs.readdirSync(path);
        if (first !== undefined) fs.rmSync(`${path}/${first}`);
      },
    ),
};

const context = contextOf(deadly);
const store = new SessionStore(stateDir, context);
const self = context.processes.identify(process.pid);
const SCENARIOS: Readonly<Record<string, () => void>> = {
  allocate: () => void openLocked(store, context, CRASH_REQUEST, readObjects(libDir)),
  attach: () => store.locked(() => addRun(store, store.open('job'), self!)),
  release: () => void store.locked(() => release(store, context.processes, 'job', false)),
  close: () => store.locked(() => store.setState('job', 'closed')),
  expire: () => store.locked(() => sweep(store, { now: () => Date.now() + 3_600_000 })),
};
SCENARIOS[scenario]?.();
process.stdout.write('done');
