// SPDX-License-Identifier: Apache-2.0
import {
  CELL,
  DEVICE_STATS,
  HEADER,
  IDENTITY,
  LEDGER_SIZE,
  LIVE_BASE,
  SEIZING,
  SLOTS,
  SLOT_STATE,
  UNACCOUNTED,
  UNACCOUNTED_ENTRY,
  cellOffset,
  identityOffset,
} from '#native/layout.ts';
import type { Struct } from '#native/layout.ts';
import { EVERY_DEVICE } from '../limits.ts';
import type { DeviceLimit } from '../limits.ts';
import type { ControlDevice } from './region.ts';

/** What the processes of a session hold, as their ledger says: a snapshot that may be a few bytes out of step with itself. */
export interface LedgerView {
  readonly devices: readonly DeviceView[];
  readonly processes: readonly ProcessView[];
}

export interface DeviceView {
  readonly device: string;
  readonly limitBytes: number | null;
  /** Allocated by processes that live. */
  readonly usedBytes: number;
  /** Lent to processes: what they have allocated, and credit that they give back when another one needs it. */
  readonly leasedBytes: number;
  /** Lent to processes that have ended: comes back with the next allocation that needs it. */
  readonly leftByDeadBytes: number;
  readonly denials: number;
  readonly reclaimedBytes: number;
  /** Seen so far: sums that only rise. */
  readonly unaccounted: Readonly<Record<keyof typeof UNACCOUNTED, { readonly bytes: number; readonly calls: number }>>;
}

export interface ProcessView {
  readonly slot: number;
  /** As the process sees itself: in its own PID namespace. */
  readonly pid: number;
  readonly name: string;
  /** The kernel says that it lives. What a dead one held comes back with the next allocation that needs it. */
  readonly alive: boolean;
  readonly denials: number;
  /** By index into `devices`. */
  readonly usedBytes: readonly number[];
}

/** The lock bytes of a ledger file as slots. */
export function slotsOf(lockedBytes: ReadonlySet<number>): Set<number> {
  const base = Number(LIVE_BASE);
  return new Set([...lockedBytes].map((byte) => byte - base).filter((slot) => slot >= 0 && slot < SLOTS));
}

/**
 * Reads what the session's own processes wrote, which may be anything: every number is cut to what the control page permits, and
 * a short file counts as zeros.
 * @param alive says which slots' processes live
 */
export function readLedger(
  bytes: Uint8Array,
  devices: readonly ControlDevice[],
  alive: (slot: number) => boolean,
): LedgerView {
  const full = new Uint8Array(LEDGER_SIZE);
  full.set(bytes.subarray(0, LEDGER_SIZE));
  const view = new DataView(full.buffer);
  const processes: ProcessView[] = [];
  const sums = devices.map(() => ({ used: 0, leased: 0, left: 0 }));
  for (let slot = 0; slot < SLOTS; slot += 1) {
    const cells = devices.map(({ limit }, device) => readCell(view, cellOffset(device, slot), limit));
    const lives = alive(slot);
    cells.forEach(({ used, lease }, device) => {
      const sum = sums[device];
      if (sum === undefined) return;
      sum.leased += lease;
      sum.used += lives ? used : 0;
      sum.left += lives ? 0 : lease;
    });
    const process = readProcess(
      view,
      full,
      slot,
      lives,
      cells.map(({ used }) => used),
    );
    if (process !== undefined) processes.push(process);
  }
  return {
    processes,
    devices: devices.map(({ device, limit }, at) => ({
      device,
      limitBytes: limit,
      usedBytes: atMost(sums[at]?.used ?? 0, limit),
      leasedBytes: atMost(sums[at]?.leased ?? 0, limit),
      leftByDeadBytes: atMost(sums[at]?.left ?? 0, limit),
      ...readStats(view, at),
    })),
  };
}

function atMost(value: number, limit: number | null): number {
  return Math.min(value, limit ?? Number.MAX_SAFE_INTEGER);
}

function number(value: bigint): number {
  return value > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(value);
}

function readCell(
  view: DataView,
  base: number,
  limit: number | null,
): { readonly used: number; readonly lease: number } {
  const lease = atMost(number(view.getBigUint64(base + CELL.fields.lease.offset, true)), limit);
  const avail = number(view.getBigUint64(base + CELL.fields.avail.offset, true) & ~SEIZING);
  return { lease, used: Math.max(0, lease - avail) };
}

function readProcess(
  view: DataView,
  bytes: Uint8Array,
  slot: number,
  alive: boolean,
  usedBytes: readonly number[],
): ProcessView | undefined {
  const base = identityOffset(slot);
  const { fields } = IDENTITY;
  const state = view.getUint32(base + fields.state.offset, true);
  if (state !== SLOT_STATE.used && !alive) return undefined;
  const at = base + fields.name.offset;
  return {
    slot,
    pid: view.getUint32(base + fields.pid.offset, true),
    name: printable(bytes.subarray(at, at + fields.name.count)),
    alive,
    denials: number(view.getBigUint64(base + fields.denials.offset, true)),
    usedBytes,
  };
}

/** Names go to terminals: no control characters, and no text that reads backwards. */
function printable(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  const text = Buffer.from(end === -1 ? bytes : bytes.subarray(0, end)).toString('utf8');
  return text.replace(/[\p{C}\u{FFFD}]/gu, '?');
}

function readStats(view: DataView, device: number): Pick<DeviceView, 'denials' | 'reclaimedBytes' | 'unaccounted'> {
  const base = HEADER.fields.stats.offset + device * DEVICE_STATS.size;
  const get = <N extends string>(at: number, { fields }: Struct<N>, name: N): number =>
    number(view.getBigUint64(at + fields[name].offset, true));
  const entry = (kind: number): { bytes: number; calls: number } => {
    const at = base + DEVICE_STATS.fields.unaccounted.offset + kind * UNACCOUNTED_ENTRY.size;
    return { bytes: get(at, UNACCOUNTED_ENTRY, 'bytes'), calls: get(at, UNACCOUNTED_ENTRY, 'calls') };
  };
  return {
    denials: get(base, DEVICE_STATS, 'denials'),
    reclaimedBytes: get(base, DEVICE_STATS, 'reclaimed'),
    unaccounted: {
      graph: entry(UNACCOUNTED.graph),
      external: entry(UNACCOUNTED.external),
      other: entry(UNACCOUNTED.other),
    },
  };
}

/** All that were named; of a limit that holds for each GPU those that something happened on, or the first. */
export function shownDevices({ devices }: LedgerView, limits: readonly DeviceLimit[]): readonly DeviceView[] {
  if (!limits.some(({ device }) => device === EVERY_DEVICE)) return devices;
  const touched = devices.filter(isTouched);
  return touched.length > 0 ? touched : devices.slice(0, 1);
}

function isTouched({ leasedBytes, denials, reclaimedBytes, unaccounted }: DeviceView): boolean {
  return leasedBytes + denials + reclaimedBytes > 0 || Object.values(unaccounted).some(({ calls }) => calls > 0);
}
