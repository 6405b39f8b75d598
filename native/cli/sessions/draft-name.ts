// SPDX-License-Identifier: Apache-2.0
import type { Processes } from '../processes.ts';

/** `PID-START-BOOT-TOKEN`: whoever finds the folder can tell whether its maker lives. */
const PATTERN = /^([1-9][0-9]{0,9})-([0-9]{1,20})-([0-9a-f-]{36})-[0-9a-f]{16}$/;

/** @param token 16 hexadecimal digits that nobody else has */
export function draftName(processes: Pick<Processes, 'identify'>, token: string): string {
  const self = processes.identify(process.pid);
  return self === undefined ? token : `${self.pid}-${self.start}-${self.boot}-${token}`;
}

/** Whether a process that lives is still making it, as far as can be told from here. */
export function isBeingMade(processes: Pick<Processes, 'lives'>, name: string): boolean {
  const [, pid, start, boot] = PATTERN.exec(name) ?? [];
  if (pid === undefined || start === undefined || boot === undefined) return false;
  return processes.lives({ pid: Number(pid), start, boot }) === true;
}
