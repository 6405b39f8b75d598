// SPDX-License-Identifier: Apache-2.0
// What a TypeScript handler starts and hangs in: no time limit, kill or vanished parent leaves anything of it behind.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { until } from '#test/until.ts';
import { isAlive, startWorkerStack } from './worker.harness.ts';
import type { WorkerStack } from './worker.harness.ts';

/** Blocks its thread in a system call, where not even the end of the thread reaches it, with a child that would go on for ever. */
const HANGING = `
import { execFileSync } from 'node:child_process';
export function predict() {
  execFileSync('/bin/sh', ['-c', 'echo $$ > pid; exec sleep 3600']);
  return [1];
}
`;

const childOf = (stack: WorkerStack) => async (): Promise<number> => {
  const file = join(stack.handlers, 'pid');
  return await until(() => existsSync(file) && Number(readFileSync(file, 'utf8')), { what: 'the child' });
};

it('a handler that hangs in a system call past its time fails its request and takes the unit down', async () => {
  const stack = await startWorkerStack({ timeoutSeconds: 1, maxAttempts: 1 });
  writeFileSync(join(stack.handlers, 'hanging.ts'), HANGING);
  const ticket = await stack.post({});
  const unit = await stack.worker({ handler: 'hanging.ts', parentPipe: true }, 'echo-1', { detached: true });
  const child = await childOf(stack)();
  const ended = await stack.ended(ticket);
  expect([ended.status, ended.state]).toEqual([500, 'failed']);
  expect(ended.bytes.toString()).toContain('timeoutSeconds');
  const { code } = await unit.exit;
  expect(code).not.toBe(0);
  await until(() => !isAlive(child), { what: 'the child to end' });
});

it.each<[string, (unit: Awaited<ReturnType<WorkerStack['worker']>>) => void]>([
  ['kill -9 of the unit', (unit) => process.kill(unit.pid, 'SIGKILL')],
  ['the end of its parent', (unit) => unit.child.stdin?.end()],
])('%s ends what a handler has started', async (_name, act) => {
  const stack = await startWorkerStack();
  writeFileSync(join(stack.handlers, 'hanging.ts'), HANGING);
  await stack.post({});
  const unit = await stack.worker({ handler: 'hanging.ts', parentPipe: true }, 'echo-1', { detached: true });
  const child = await childOf(stack)();
  expect(isAlive(child)).toBe(true);
  act(unit);
  expect((await unit.exit).signal).toBe('SIGKILL');
  await until(() => !isAlive(child), { what: 'the child to end' });
});

it('SIGTERM while the model loads ends the unit at once with code 0', async () => {
  const stack = await startWorkerStack();
  const handler = `import { writeFileSync } from 'node:fs';
    export function load() { writeFileSync('loading', ''); for (;;); }
    export const predict = (batch) => batch;`;
  writeFileSync(join(stack.handlers, 'endless.ts'), handler);
  const unit = await stack.worker({ handler: 'endless.ts' });
  await until(() => existsSync(join(stack.handlers, 'loading')), { what: 'the load' });
  unit.child.kill('SIGTERM');
  expect(await unit.exit).toEqual({ code: 0, signal: null });
});
