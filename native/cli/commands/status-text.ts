// SPDX-License-Identifier: Apache-2.0
import { formatLimitSize } from '../limits.ts';
import { formatSize } from '../sizes.ts';
import { shownDevices } from '../sessions/ledger.ts';
import type { DeviceView, LedgerView, ProcessView } from '../sessions/ledger.ts';
import type { Overview } from '../sessions/overview.ts';
import type { State } from '../sessions/region.ts';
import { formatTable } from '../table.ts';
import { sessionJson } from './session-json.ts';
import { expiryText } from './sessions.ts';

const DEVICE_HEAD = ['GPU', ' LIMIT', ' USED', ' FREE', ' LENT', ' REFUSED', ' UNACCOUNTED'];
const PROCESS_HEAD = ['PID', 'NAME', ' USED', ' REFUSED', 'STATE'];

const INDENT = '  ';

/** Free to whoever asks next: nothing of a session that is over; null: without limit. */
function freeBytes({ limitBytes, usedBytes }: DeviceView, state: State): number | null {
  if (state !== 'active') return 0;
  return limitBytes === null ? null : limitBytes - usedBytes;
}

export function statusJson({ name, session, ledger, problem }: Overview): unknown {
  if (problem !== undefined) return { name, state: 'damaged', problem: problem.message };
  const devices = shownDevices(ledger, session.record.limits).map((device) => ({
    ...device,
    freeBytes: freeBytes(device, session.control.state),
  }));
  const processes = ledger.processes.map(({ usedBytes, ...rest }) => ({
    ...rest,
    usedBytes: byDevice(ledger, usedBytes),
  }));
  return { ...sessionJson(session), devices, processes };
}

/** `{"0": 4096}`: without the GPUs of which it holds nothing. */
function byDevice({ devices }: LedgerView, usedBytes: readonly number[]): Record<string, number> {
  const pairs = devices.map(({ device }, at) => [device, usedBytes[at] ?? 0] as const);
  return Object.fromEntries(pairs.filter(([, bytes]) => bytes > 0));
}

export function statusText({ name, session, ledger, problem }: Overview, now: number): string {
  if (problem !== undefined) return `session ${name}: damaged: ${problem.message}\n`;
  const { state } = session.control;
  const ends = session.record.idleUntilMs === undefined ? 'in use' : `ends ${expiryText(session, now)}`;
  const end = state === 'active' ? `, ${ends}` : '';
  const head = `session ${name}: ${state}${end}\n`;
  const { processes } = ledger;
  const shown = processes.length === 0 ? '' : formatTable(PROCESS_HEAD, processes.map(processRow), INDENT);
  return (
    head +
    formatTable(
      DEVICE_HEAD,
      shownDevices(ledger, session.record.limits).map((device) => deviceRow(device, state)),
      INDENT,
    ) +
    shown
  );
}

function deviceRow(device: DeviceView, state: State): string[] {
  const { limitBytes, usedBytes, leasedBytes, denials, unaccounted } = device;
  const free = freeBytes(device, state);
  const outside = Object.values(unaccounted).reduce((sum, { bytes }) => sum + bytes, 0);
  return [
    device.device,
    formatLimitSize(limitBytes),
    formatSize(usedBytes),
    free === null ? '-' : formatSize(free),
    formatSize(leasedBytes),
    String(denials),
    formatSize(outside),
  ];
}

function processRow({ pid, name, alive, denials, usedBytes }: ProcessView): string[] {
  const used = usedBytes.reduce((sum, bytes) => sum + bytes, 0);
  return [String(pid), name, formatSize(used), String(denials), alive ? 'running' : 'ended; comes back when needed'];
}
