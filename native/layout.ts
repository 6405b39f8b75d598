// SPDX-License-Identifier: Apache-2.0
// The region: two files beside the preloaded object that say how much GPU memory a session has and who holds it.
// `control` is written by whoever owns the session (the command line; in a pod the object itself, once, from a quota), and only
// read by the object afterwards; `ledger` is written by every process of the session. This file is the one description of both: hack/generate.ts makes
// native/vram/layout.gen.h from it, and the command line reads and writes through it. All numbers are little endian.

export type Scalar = 'u8' | 'i32' | 'u32' | 'u64';
export type FieldType = Scalar | Struct;

/** One member: `count` of `type`, `offset` bytes from the start of its struct. */
export interface Field {
  readonly type: FieldType;
  readonly count: number;
  readonly offset: number;
  readonly doc: string;
}

export interface Struct<Name extends string = string> {
  readonly name: string;
  readonly size: number;
  readonly doc: string;
  readonly fields: Readonly<Record<Name, Field>>;
}

/** type, count, what it means; optionally the offset it starts at (else it follows the member before it). */
type Member = readonly [type: FieldType, count: number, doc: string, offset?: number];

const SCALAR_SIZE: Record<Scalar, number> = { u8: 1, i32: 4, u32: 4, u64: 8 };

export const sizeOf = (type: FieldType): number => (typeof type === 'string' ? SCALAR_SIZE[type] : type.size);

function struct<Name extends string>(
  name: string,
  size: number,
  doc: string,
  members: Readonly<Record<Name, Member>>,
): Struct<Name> {
  let end = 0;
  const fields: [string, Field][] = [];
  for (const [member, [type, count, doc, at]] of Object.entries<Member>(members)) {
    const offset = at ?? end;
    const alignment = typeof type === 'string' ? sizeOf(type) : 8;
    if (offset < end || offset % alignment !== 0) throw new Error(`${name}.${member}: bad offset ${offset}`);
    fields.push([member, { type, count, offset, doc }]);
    end = offset + sizeOf(type) * count;
  }
  if (end > size) throw new Error(`${name}: ${end} bytes do not fit ${size}`);
  return { name, size, doc, fields: Object.fromEntries(fields) as Record<Name, Field> };
}

/** Raised when a member moves or changes its meaning. Objects refuse any version that is not theirs (fail closed). */
export const VERSION = 1;
/** "PNVRSCTL" and "PNVRSLDG": `head -c8 control` tells what a file is. */
export const CONTROL_MAGIC = 0x4c54435352564e50n;
export const LEDGER_MAGIC = 0x47444c5352564e50n;

export const CONTROL_SIZE = 4096;
/** GPUs that one session can name: what the largest servers hold. */
export const DEVICES = 16;
/** Processes of one session that hold GPU memory at the same time. A slot never moves; its number is its lock byte. */
export const SLOTS = 512;
/** Each slot and each (slot, device) has lines of its own: 128 bytes, because CPUs fetch lines of 64 in pairs. */
export const LINE = 128;

/**
 * The process in slot N holds an OFD write lock on the byte LIVE_BASE + N of `ledger`; the kernel lets go of it when the
 * process is gone. Far behind the end of the file, so that it is told apart from any other lock (see /proc/locks).
 */
export const LIVE_BASE = 0x10000000000n;

export const STATE = { active: 1, expired: 2, closed: 3 } as const;
/**
 * `byCard`: the entries name no GPU; GPUs get them in the order in which processes first meet them, and the ledger notes which (`cards`).
 */
export const FLAG = { reportPhysical: 1, managedUncharged: 2, unlistedUnlimited: 4, byCard: 8 } as const;
/** A device's `limit` that stands for none. */
export const UNLIMITED = 0xffffffffffffffffn;
/** A device's `ordinal` when it is meant by its UUID. */
export const BY_UUID = -1;
/** `chunk` when the control page says 0. */
export const DEFAULT_CHUNK = 64 * 1024 * 1024;
/** What is not charged is at least counted: memory of CUDA graphs, memory of other APIs, anything else. */
export const UNACCOUNTED = { graph: 0, external: 1, other: 2 } as const;
export const UNACCOUNTED_KINDS = 3;
export const SLOT_STATE = { free: 0, used: 1 } as const;
/** Set in `avail` while a neighbour takes the credit away; the bytes are the bits below. */
export const SEIZING = 0x8000000000000000n;

/** The lock word: slot + 1 in the low bits, then `waiters`, then the low bits of the slot's generation. */
export const LOCK = { slotMask: 0x3ff, waiters: 0x400, generationShift: 11 } as const;

export const DEVICE = struct('control_device', 64, 'What the session may hold of one GPU.', {
  uuid: ['u8', 16, 'UUID of the GPU or MIG instance; all zero: by ordinal, or by card'],
  ordinal: ['i32', 1, 'index among the devices that the process sees (after CUDA_VISIBLE_DEVICES); -1: by UUID'],
  reserved: ['u32', 1, 'zero'],
  limit: ['u64', 1, 'bytes; all ones: no limit'],
});

export const CONTROL = struct(
  'control',
  CONTROL_SIZE,
  'File `control`: the owner writes it, the object only reads it.',
  {
    magic: ['u64', 1, 'CONTROL_MAGIC'],
    version: ['u32', 1, 'VERSION'],
    size: ['u32', 1, 'CONTROL_SIZE'],
    session: ['u8', 16, 'identity of the session; the ledger carries the same'],
    state: ['u32', 1, 'STATE: only `active` lends; in the others what is held stays charged until it is freed'],
    epoch: ['u32', 1, 'goes up after each change of limits: processes look at their credit again'],
    flags: ['u32', 1, 'FLAG bits'],
    deviceCount: ['u32', 1, 'entries of `devices` in use'],
    chunk: ['u64', 1, 'bytes of credit that a process fetches at once; 0: DEFAULT_CHUNK'],
    expires: ['u64', 1, 'Unix time in seconds, 0: never. For people and agents: the object goes by `state`'],
    devices: [DEVICE, DEVICES, 'what each GPU lends', 128],
  },
);

export const UNACCOUNTED_ENTRY = struct('unaccounted', 16, 'Memory that no hook can charge.', {
  bytes: ['u64', 1, 'bytes seen'],
  calls: ['u64', 1, 'calls seen'],
});

export const DEVICE_STATS = struct('device_stats', LINE, 'Counters of one GPU. None of them decides anything.', {
  leased: ['u64', 1, 'sum of the leases after the last change'],
  denials: ['u64', 1, 'allocations refused'],
  reclaimed: ['u64', 1, 'bytes that came back from dead processes'],
  refills: ['u64', 1, 'times a process fetched credit'],
  seizures: ['u64', 1, 'times idle credit of a neighbour was taken back'],
  unaccounted: [UNACCOUNTED_ENTRY, UNACCOUNTED_KINDS, 'by UNACCOUNTED kind'],
});

export const JOURNAL = struct('journal', 64, 'A seizure under way: whoever takes the lock over finishes it.', {
  slot: ['u32', 1, 'slot + 1 of the neighbour, 0: none. Written last, cleared last'],
  device: ['u32', 1, 'device index'],
  amount: ['u64', 1, 'bytes taken from its `avail`'],
  lease: ['u64', 1, 'its lease before'],
});

export const HEADER = struct('ledger_header', 4096, 'First page of file `ledger`.', {
  magic: ['u64', 1, 'LEDGER_MAGIC'],
  version: ['u32', 1, 'VERSION'],
  size: ['u32', 1, 'LEDGER_SIZE'],
  session: ['u8', 16, 'the same as in the control page'],
  slots: ['u32', 1, 'SLOTS'],
  devices: ['u32', 1, 'DEVICES'],
  lock: ['u32', 1, 'futex: who may change leases (LOCK)', LINE],
  top: ['u32', 1, 'slots at or above it were never used'],
  journal: [JOURNAL, 1, 'under the lock', 2 * LINE],
  stats: [DEVICE_STATS, DEVICES, 'by device index', 4 * LINE],
  cards: ['u64', 2 * DEVICES, 'byCard: UUIDs, two words by device index; zero: none yet. Each word is set once'],
});

export const IDENTITY = struct(
  'slot_identity',
  LINE,
  'Who is in a slot. For people: nothing here decides anything but `generation`.',
  {
    state: ['u32', 1, 'SLOT_STATE'],
    generation: ['u32', 1, 'goes up with each process that takes the slot'],
    pid: ['u32', 1, 'as the process sees itself'],
    uid: ['u32', 1, 'effective user, as the process sees itself'],
    started: ['u64', 1, 'start time in clock ticks since boot (/proc/PID/stat, field 22)'],
    pidNamespace: ['u64', 1, 'inode of /proc/self/ns/pid: `pid` means something only inside it'],
    name: ['u8', 16, 'command name, ends with zero'],
    denials: ['u64', 1, 'allocations refused to this process'],
    refills: ['u64', 1, 'times it fetched credit'],
  },
);

export const CELL = struct('slot_cell', LINE, 'What one process holds of one GPU: used = lease - avail.', {
  avail: ['u64', 1, 'credit not in use; top bit: SEIZING. The process changes it at will, neighbours under the lock'],
  lease: ['u64', 1, 'bytes lent to the process. Changes only under the lock'],
});

const IDENTITY_BASE = HEADER.size;
const CELL_BASE = IDENTITY_BASE + SLOTS * IDENTITY.size;
export const LEDGER_SIZE = CELL_BASE + DEVICES * SLOTS * CELL.size;

/** Byte offset of a slot's identity line in `ledger`. */
export const identityOffset = (slot: number): number => IDENTITY_BASE + slot * IDENTITY.size;
/** Byte offset of the line of (device, slot) in `ledger`. By device first: whoever adds up one device reads straight on. */
export const cellOffset = (device: number, slot: number): number => CELL_BASE + (device * SLOTS + slot) * CELL.size;
