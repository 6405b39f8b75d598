// SPDX-License-Identifier: Apache-2.0
// The C header of the VRAM region, from native/layout.ts: constants, structs, and assertions that the compiler's offsets are ours.
import * as layout from '#native/layout.ts';
import type { Field, FieldType, Scalar, Struct } from '#native/layout.ts';

const C_TYPE: Record<Scalar, string> = { u8: 'uint8_t', i32: 'int32_t', u32: 'uint32_t', u64: 'uint64_t' };

const cType = (type: FieldType): string => (typeof type === 'string' ? C_TYPE[type] : `struct ${type.name}`);
/** deviceCount → device_count */
const snake = (name: string): string => name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

function emitStruct(struct: Struct): string {
  const lines: string[] = [];
  let end = 0;
  let gaps = 0;
  const gap = (upTo: number): void => {
    if (upTo > end) lines.push(`  uint8_t gap${gaps++}_[${upTo - end}];`);
  };
  const fields = Object.entries<Field>(struct.fields);
  for (const [name, { type, count, offset, doc }] of fields) {
    gap(offset);
    const dimension = count > 1 ? `[${count}]` : '';
    lines.push(`  ${cType(type)} ${snake(name)}${dimension}; // ${doc}`);
    end = offset + layout.sizeOf(type) * count;
  }
  gap(struct.size);
  const checks = fields.map(
    ([name, { offset }]) => `_Static_assert(offsetof(struct ${struct.name}, ${snake(name)}) == ${offset}, "${name}");`,
  );
  const size = `_Static_assert(sizeof(struct ${struct.name}) == ${struct.size}, "${struct.name}");`;
  return [`/** ${struct.doc} */`, `struct ${struct.name} {`, ...lines, '};', size, ...checks, ''].join('\n');
}

const u32 = (name: string, value: number): string => `#define ${name} ${value}U`;
const u64 = (name: string, value: bigint | number): string => `#define ${name} UINT64_C(${value})`;

function group(prefix: string, values: Readonly<Record<string, number>>): string[] {
  return Object.entries(values).map(([name, value]) => u32(`${prefix}_${snake(name).toUpperCase()}`, value));
}

function constants(): string[] {
  return [
    u32('LAYOUT_VERSION', layout.VERSION),
    u64('CONTROL_MAGIC', layout.CONTROL_MAGIC),
    u64('LEDGER_MAGIC', layout.LEDGER_MAGIC),
    u32('CONTROL_SIZE', layout.CONTROL_SIZE),
    u32('LEDGER_SIZE', layout.LEDGER_SIZE),
    u32('DEVICES', layout.DEVICES),
    u32('SLOTS', layout.SLOTS),
    u64('LIVE_BASE', layout.LIVE_BASE),
    u64('UNLIMITED', layout.UNLIMITED),
    u64('DEFAULT_CHUNK', layout.DEFAULT_CHUNK),
    u64('SEIZING', layout.SEIZING),
    u32('UNACCOUNTED_KINDS', layout.UNACCOUNTED_KINDS),
    `#define BY_UUID (${layout.BY_UUID})`,
    ...group('CONTROL_STATE', layout.STATE),
    ...group('CONTROL_FLAG', layout.FLAG),
    ...group('UNACCOUNTED', layout.UNACCOUNTED),
    ...group('SLOT', layout.SLOT_STATE),
    ...group('LOCK', layout.LOCK),
  ];
}

/** Text of native/vram/layout.gen.h. */
export function emitLayout(head: string): string {
  const structs = [
    layout.DEVICE,
    layout.CONTROL,
    layout.UNACCOUNTED_ENTRY,
    layout.DEVICE_STATS,
    layout.JOURNAL,
    layout.HEADER,
    layout.IDENTITY,
    layout.CELL,
  ];
  const ledger = [
    '/** File `ledger`. */',
    'struct ledger {',
    '  struct ledger_header header;',
    '  struct slot_identity slots[SLOTS];',
    '  struct slot_cell cells[DEVICES][SLOTS];',
    '};',
    '_Static_assert(sizeof(struct ledger) == LEDGER_SIZE, "ledger");',
    `_Static_assert(offsetof(struct ledger, slots) == ${layout.identityOffset(0)}, "slots");`,
    `_Static_assert(offsetof(struct ledger, cells) == ${layout.cellOffset(0, 0)}, "cells");`,
  ].join('\n');
  const guard = 'PENSTOCK_VRAM_LAYOUT_GEN_H';
  const top = [`#ifndef ${guard}`, `#define ${guard}`, '', '#include <stddef.h>', '#include <stdint.h>', ''];
  return [`${head}${top.join('\n')}`, ...constants(), '', ...structs.map(emitStruct), ledger, '', '#endif', ''].join(
    '\n',
  );
}
