// SPDX-License-Identifier: Apache-2.0
// No unit leaves a child behind: real processes, killed in the ways that happen.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { until } from '#test/until.ts';
import { HOST_KINDS } from '#worker/testing/host-suite.ts';
import { callsIn, isAlive, startWorkerStack } from './worker.harness.ts';

/** A handler that starts a child of its own, writes both pids, and then hangs where no Python thread can run. */
const HANGING = `
import ctypes, os, subprocess

class Model:
    def load(self):
        self.child = subprocess.Popen(["sleep", "3600"])
        with open("pids", "w") as file:
            file.write(f"{os.getpid()} {self.child.pid} {os.getppid()}\\n")

    def predict(self, batch):
        with open("hanging", "w") as file:
            file.write("yes\\n")
        # Through PyDLL the call keeps the interpreter's lock: no other thread of the process runs.
        ctypes.PyDLL(None).sleep(3600)
        return [None for _ in batch]
`;

function pidsIn(dir: string): readonly number[] {
  return readFileSync(join(dir, 'pids'), 'utf8').trim().split(' ').map(Number);
}

const exists = (file: string) => (): boolean => readFileSync(file, 'utf8').endsWith('\n');

it('kill -9 of the unit ends its Python child, also one that hangs in native code, and grandchildren', async () => {
  const stack = await startWorkerStack();
  writeFileSync(join(stack.handlers, 'hanging.py'), HANGING);
  await stack.post({});
  const unit = await stack.worker({ handler: 'hanging:Model' });
  await until(exists(join(stack.handlers, 'hanging')), { what: 'the handler to hang' });
  const pids = pidsIn(stack.handlers);
  expect(pids.map(isAlive)).toEqual([true, true, true]);
  process.kill(unit.pid, 'SIGKILL');
  await until(() => !pids.some(isAlive), { what: 'the children to end' });
});

it('a time limit ends a Python child that hangs in native code, and its grandchildren; the next request is served', async () => {
  const stack = await startWorkerStack({ timeoutSeconds: 1, maxAttempts: 1 });
  writeFileSync(join(stack.handlers, 'hanging.py'), HANGING);
  const ticket = await stack.post({});
  await stack.worker({ handler: 'hanging:Model' });
  await until(exists(join(stack.handlers, 'hanging')), { what: 'the handler to hang' });
  const first = pidsIn(stack.handlers);
  expect((await stack.ended(ticket)).bytes.toString()).toContain('timeoutSeconds');
  await until(() => !first.some(isAlive), { what: 'the first child to end' });
  await until(() => pidsIn(stack.handlers)[0] !== first[0], { what: 'a fresh child' });
});

it('SIGTERM that runs out of grace ends the child with the unit', async () => {
  const stack = await startWorkerStack();
  writeFileSync(join(stack.handlers, 'hanging.py'), HANGING);
  const ticket = await stack.post({});
  const unit = await stack.worker({ handler: 'hanging:Model', graceSeconds: 0 });
  await until(exists(join(stack.handlers, 'hanging')), { what: 'the handler to hang' });
  const pids = pidsIn(stack.handlers);
  unit.child.kill('SIGTERM');
  expect(await unit.exit).toEqual({ code: 0, signal: null });
  await until(() => !pids.some(isAlive), { what: 'the children to end' });
  expect(await stack.state(ticket)).toBe('queued');
});

it('a unit whose parent is gone ends at once, children included', async () => {
  const stack = await startWorkerStack();
  writeFileSync(join(stack.handlers, 'hanging.py'), HANGING);
  await stack.post({});
  const unit = await stack.worker({ handler: 'hanging:Model', parentPipe: true });
  await until(exists(join(stack.handlers, 'hanging')), { what: 'the handler to hang' });
  const pids = pidsIn(stack.handlers);
  unit.child.stdin?.end();
  expect(await unit.exit).toEqual({ code: null, signal: 'SIGKILL' });
  await until(() => !pids.some(isAlive), { what: 'the children to end' });
});

it.each(HOST_KINDS)('work of a unit killed with -9 is done by the next one, once: $name', async (kind) => {
  const stack = await startWorkerStack({}, { gateway: { leaseSeconds: 3 } });
  const handler = kind.install(stack.handlers);
  const ticket = await stack.post({ do: 'spin', ms: 1500 });
  const unit = await stack.worker({ handler }, 'echo-1');
  await until(() => callsIn(stack.handlers).includes('predict 1'), { what: 'the first predict' });
  process.kill(unit.pid, 'SIGKILL');
  await stack.worker({ handler }, 'echo-2');
  expect((await stack.ended(ticket)).status).toBe(200);
  expect(await stack.attempts(ticket)).toEqual(['lost', 'succeeded']);
});

it('an interpreter that does not exist is an unready unit, with a reason', async () => {
  const stack = await startWorkerStack();
  const unit = await stack.worker({ handler: 'model:Model', python: 'python-that-is-not-here' });
  expect(await unit.exit).toEqual({ code: 3, signal: null });
  expect(unit.log()).toContain('python-that-is-not-here was not found');
});
