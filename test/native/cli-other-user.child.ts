// SPDX-License-Identifier: Apache-2.0
// cli-other-user.child STATE_DIR UID: becomes that user (as root; otherwise it stays who it is) and tries to get at session team there by
// each command. Prints a JSON array of what each was refused with.
// cli-other-user.child --doctor UID PID: asks doctor about a process instead.
import process from 'node:process';
import { attach } from '#native/cli/commands/attach.ts';
import { doctor } from '#native/cli/commands/doctor.ts';
import { release } from '#native/cli/commands/release.ts';
import { sessions } from '#native/cli/commands/sessions.ts';
import { status } from '#native/cli/commands/status.ts';
import { explain } from '#native/cli/errors.ts';
import { contextOf } from './cli.ts';

const [stateDir = '', uid = '0', pid = ''] = process.argv.slice(2);
if (process.geteuid?.() === 0) {
  process.setgroups?.([]);
  process.setgid?.(Number(uid));
  process.setuid?.(Number(uid));
}
const context = { ...contextOf(), shell: { pid: process.pid, handOver: () => process.stdout.write('handed over') } };
if (stateDir === '--doctor') {
  const exit = await doctor.run({ ...context, env: { HOME: '/' }, out: (text) => process.stdout.write(text) }, [pid]);
  process.stdout.write(`exit ${exit}`);
  process.exit(0);
}
const dir = ['--state-dir', stateDir];
const attempts = [
  () => attach.run(context, [...dir, 'team', '--', '/bin/true']),
  () => release.run(context, [...dir, '--force', 'team']),
  () => release.run(context, [...dir, '--force', '--all']),
  () => status.run(context, [...dir, 'team']),
  () => sessions.run(context, dir),
];
const codes: string[] = [];
for (const attempt of attempts) {
  try {
    await attempt();
    codes.push('done');
  } catch (err) {
    codes.push(explain(err)?.code ?? String(err));
  }
}
process.stdout.write(JSON.stringify(codes));
