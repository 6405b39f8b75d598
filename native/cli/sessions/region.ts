// SPDX-License-Identifier: Apache-2.0
import {
  BY_UUID,
  CONTROL,
  CONTROL_MAGIC,
  CONTROL_SIZE,
  DEVICE,
  DEVICES,
  FLAG,
  HEADER,
  LEDGER_MAGIC,
  LEDGER_SIZE,
  SLOTS,
  STATE,
  UNLIMITED,
  VERSION,
} from '#native/layout.ts';
import { VramError } from '../errors.ts';
import { EVERY_DEVICE, uuidBytes } from '../limits.ts';
import type { DeviceLimit } from '../limits.ts';
import type { SessionLimit } from './record.ts';

export type State = keyof typeof STATE;
export type Reported = 'limit' | 'physical';
export type Managed = 'charged' | 'uncharged';

export interface ControlPlan {
  readonly id: string;
  readonly limits: readonly SessionLimit[];
  /** What cuDeviceTotalMem answers. */
  readonly report: Reported;
  readonly managed: Managed;
}

/** One entry of the control page. `limit` null: unlimited. */
export interface ControlDevice {
  readonly device: string;
  readonly limit: number | null;
}

export interface Control {
  readonly id: string;
  readonly state: State;
  readonly devices: readonly ControlDevice[];
}

/** The first page of a session: who may take how much. */
export function makeControl({ id, limits, report, managed }: ControlPlan): Uint8Array {
  const bytes = new Uint8Array(CONTROL_SIZE);
  const view = new DataView(bytes.buffer);
  const { fields } = CONTROL;
  view.setBigUint64(fields.magic.offset, CONTROL_MAGIC, true);
  view.setUint32(fields.version.offset, VERSION, true);
  view.setUint32(fields.size.offset, CONTROL_SIZE, true);
  bytes.set(Buffer.from(id, 'hex'), fields.session.offset);
  view.setUint32(fields.state.offset, STATE.active, true);
  const flags =
    (report === 'physical' ? FLAG.reportPhysical : 0) | (managed === 'uncharged' ? FLAG.managedUncharged : 0);
  view.setUint32(fields.flags.offset, flags, true);
  const devices = limits.flatMap(entriesOf);
  view.setUint32(fields.deviceCount.offset, devices.length, true);
  devices.forEach(({ device, limit }, at) => {
    const base = fields.devices.offset + at * DEVICE.size;
    const uuid = uuidBytes(device);
    if (uuid !== undefined) bytes.set(uuid, base + DEVICE.fields.uuid.offset);
    view.setInt32(base + DEVICE.fields.ordinal.offset, uuid === undefined ? Number(device) : BY_UUID, true);
    view.setBigUint64(base + DEVICE.fields.limit.offset, limit === null ? UNLIMITED : BigInt(limit), true);
  });
  return bytes;
}

/** One for each card that is known; else by number, and `*` is as many numbers as a page holds. */
function entriesOf({ device, limit, cards }: SessionLimit): DeviceLimit[] {
  if (cards !== undefined) return cards.map((uuid) => ({ device: uuid, limit }));
  if (device !== EVERY_DEVICE) return [{ device, limit }];
  return Array.from({ length: DEVICES }, (_, ordinal) => ({ device: String(ordinal), limit }));
}

/** A ledger in which nobody has anything yet. Written in full: a hole that the disk cannot fill later would end a process. */
export function makeLedger(id: string): Uint8Array {
  const bytes = new Uint8Array(LEDGER_SIZE);
  const view = new DataView(bytes.buffer);
  const { fields } = HEADER;
  view.setBigUint64(fields.magic.offset, LEDGER_MAGIC, true);
  view.setUint32(fields.version.offset, VERSION, true);
  view.setUint32(fields.size.offset, LEDGER_SIZE, true);
  bytes.set(Buffer.from(id, 'hex'), fields.session.offset);
  view.setUint32(fields.slots.offset, SLOTS, true);
  view.setUint32(fields.devices.offset, DEVICES, true);
  return bytes;
}

/**
 * What processes find out before they use a ledger: of another kind, or of another session, it denies them everything.
 * @throws VramError `damaged`; the bytes may be anything
 */
export function checkLedgerHeader(bytes: Uint8Array, id: string, path: string): void {
  const { fields } = HEADER;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const session = Buffer.from(bytes.subarray(fields.session.offset, fields.session.offset + 16)).toString('hex');
  const good =
    bytes.length >= HEADER.size &&
    view.getBigUint64(fields.magic.offset, true) === LEDGER_MAGIC &&
    view.getUint32(fields.version.offset, true) === VERSION &&
    view.getUint32(fields.size.offset, true) === LEDGER_SIZE &&
    view.getUint32(fields.slots.offset, true) === SLOTS &&
    view.getUint32(fields.devices.offset, true) === DEVICES &&
    session === id;
  if (good) return;
  throw new VramError('damaged', `${path}: it is no ledger, or not this session's`, {
    fix: 'penstock-vram release --force takes the session away',
  });
}

/**
 * @param limits as they were asked for: the page has the bytes of a UUID, and not whether they are of a card or of an instance
 * @throws VramError `damaged`; the bytes may be anything
 */
export function readControl(bytes: Uint8Array, path: string, limits: readonly DeviceLimit[] = []): Control {
  const damaged = (what: string): VramError =>
    new VramError('damaged', `${path}: ${what}`, { fix: 'penstock-vram release --force takes the session away' });
  if (bytes.length !== CONTROL_SIZE) throw damaged(`${bytes.length} bytes, and not ${CONTROL_SIZE}`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const { fields } = CONTROL;
  if (view.getBigUint64(fields.magic.offset, true) !== CONTROL_MAGIC) throw damaged('it is no control page');
  const version = view.getUint32(fields.version.offset, true);
  if (version !== VERSION) throw damaged(`version ${version}; this penstock-vram knows ${VERSION}`);
  const number = view.getUint32(fields.state.offset, true);
  const state = Object.entries(STATE).find(([, value]) => value === number)?.[0] as State | undefined;
  if (state === undefined) throw damaged(`state ${number}`);
  const count = view.getUint32(fields.deviceCount.offset, true);
  if (count > DEVICES) throw damaged(`${count} devices`);
  const devices = Array.from({ length: count }, (_, at) =>
    readDevice(view, fields.devices.offset + at * DEVICE.size, limits),
  );
  const id = Buffer.from(bytes.subarray(fields.session.offset, fields.session.offset + fields.session.count));
  return { id: id.toString('hex'), state, devices };
}

function readDevice(view: DataView, base: number, limits: readonly DeviceLimit[]): ControlDevice {
  const limit = view.getBigUint64(base + DEVICE.fields.limit.offset, true);
  const ordinal = view.getInt32(base + DEVICE.fields.ordinal.offset, true);
  const at = view.byteOffset + base + DEVICE.fields.uuid.offset;
  const hex = Buffer.from(view.buffer, at, DEVICE.fields.uuid.count).toString('hex');
  return {
    device: ordinal === BY_UUID ? uuidText(hex, limits) : String(ordinal),
    limit: limit === UNLIMITED ? null : Number(limit),
  };
}

function uuidText(hex: string, limits: readonly DeviceLimit[]): string {
  const kind = limits.some(({ device }) => device === `MIG-${dashed(hex)}`) ? 'MIG' : 'GPU';
  return `${kind}-${dashed(hex)}`;
}

function dashed(hex: string): string {
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

/** One aligned word: a process that reads at the same time sees the old state or the new one. */
export function stateWord(state: State): { readonly bytes: Uint8Array; readonly position: number } {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, STATE[state], true);
  return { bytes, position: CONTROL.fields.state.offset };
}
