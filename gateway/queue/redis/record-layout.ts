// SPDX-License-Identifier: Apache-2.0
/**
 * Records in Redis: fields in a fixed order, numbers big-endian, strings behind their length. Scripts read and write one in a single
 * call of Lua's struct library, and copy the part that never changes without looking into it; MessagePack would cost them a table that
 * grows field by field.
 */
/** As struct writes it, and bytes; of texts those of the length. */
const TYPES = {
  u8: ['B', 1],
  u16: ['H', 2],
  u32: ['I4', 4],
  /** Of ms 34 years. */
  u40: ['I5', 5],
  u48: ['I6', 6],
  /** All that is exact in a double. */
  u56: ['I7', 7],
  f64: ['d', 8],
  /** Up to 255 bytes: names are checked to be shorter (validate.ts). */
  short: ['Bc0', 1],
  long: ['Hc0', 2],
} as const;

type Type = keyof typeof TYPES;

/** What is known of a request when it is queued. */
const FIXED = {
  /** Bytes up to and with the last one of these. */
  LENGTH: 'u16',
  SEQ: 'u48',
  SCORE: 'u56',
  LANE: 'u8',
  TENANT: 'short',
  REV: 'short',
  DEADLINE: 'u48',
  MAX_ATTEMPTS: 'u16',
  MAX_LOSSES: 'u16',
  RETENTION: 'u40',
  CREATED: 'u48',
  BODY_KEY: 'long',
  DIGEST: 'short',
  COST: 'u48',
  CLASS: 'u8',
} as const satisfies Record<string, Type>;

const STATE = {
  STATE: 'u8',
  EPOCH: 'u32',
  NONCE: 'short',
  UNIT: 'short',
  LEASED_AT: 'u48',
  /** Millionths of a GPU that the last lease occupied, and what its tenant was charged for it. */
  FRACTION: 'u32',
  CHARGED: 'f64',
  /** Number of the lanes' sharing in which it was leased. */
  PERIOD: 'u48',
  /** When it was queued again. */
  SINCE: 'u48',
  FAILURES: 'u32',
  LOSSES: 'u32',
  CANCEL: 'u8',
  DEAD: 'u8',
  FINISHED: 'u48',
  SERVICE: 'u48',
  RESULT_KEY: 'long',
  /** Id, in hex digits, of the request that a redrive made. */
  REDRIVEN: 'short',
  /** 1 once it has a state in `st`. */
  STORED: 'u8',
} as const satisfies Record<string, Type>;

export type Field = keyof typeof FIXED | keyof typeof STATE;

const typesOf = (fields: Readonly<Record<string, Type>>): readonly Type[] => Object.values(fields);
const isText = (type: Type): boolean => type === 'short' || type === 'long';

const FIXED_TYPES = typesOf(FIXED);
const ALL_TYPES = [...FIXED_TYPES, ...typesOf(STATE)];
const FIRST_OF_STATE = FIXED_TYPES.length + 1;

/** In the order of a record. In Lua the first one is 1. */
export const RECORD_FIELDS = [...Object.keys(FIXED), ...Object.keys(STATE)] as readonly Field[];

const formatOf = (types: readonly Type[]): string => `'>${types.map((type) => TYPES[type][0]).join('')}'`;

/** Lua that packs fields of the record `r` from place `first` on. */
function packing(types: readonly Type[], first: number): string {
  const args = types.flatMap((type, i) => {
    const value = `r[${first + i}]`;
    return isText(type) ? [`#${value}`, value] : [value];
  });
  return `struct.pack(${formatOf(types)}, ${args.join(', ')})`;
}

const fixedNames = FIXED_TYPES.map((_, i) => `f${i + 1}`).join(', ');
const fixedTexts = FIXED_TYPES.flatMap((type, i) => (isText(type) ? [`#r[${i + 1}]`] : [])).join(' + ');
const fixedBytes = FIXED_TYPES.reduce((sum, type) => sum + TYPES[type][1], 0);

/** Lua functions on records: arrays by RECORD_FIELDS. */
export const records = `
local function fixed_part(r)
  r[LENGTH] = ${fixedBytes} + ${fixedTexts}
  return ${packing(FIXED_TYPES, 1)}
end
-- Of a record or what is stored of one; behind the fixed part.
local function fixed_bytes(s)
  return string.sub(s, 1, (struct.unpack('>H', s)))
end
local function state_part(r)
  return ${packing(typesOf(STATE), FIRST_OF_STATE)}
end
local function whole_state(r)
  return fixed_part(r) .. state_part(r)
end
-- All at once: a table that grows field by field is copied with every doubling.
local function new_state(${fixedNames})
  return { ${fixedNames}, QUEUED, 0, '', '', 0, WHOLE_GPU, 0, 0, 0, 0, 0, 0, 0, 0, 0, '', '', 0 }
end
-- Of a request that was never leased.
local function from_fixed(s)
  return new_state(struct.unpack(${formatOf(FIXED_TYPES)}, s))
end
local function from_state(s)
  return { struct.unpack(${formatOf(ALL_TYPES)}, s) }
end
`;

/** A record's fields, each at its place in RECORD_FIELDS: what is no number is 0 among the numbers, what is no text is '' among the texts. */
export interface StoredFields {
  readonly numbers: readonly number[];
  readonly texts: readonly string[];
  /** What stands behind them. */
  readonly rest: Buffer;
}

/** Places of the fields in StoredFields. */
export const AT = Object.fromEntries(RECORD_FIELDS.map((name, i) => [name, i])) as Readonly<Record<Field, number>>;

/** @throws RangeError when the bytes are cut short */
export function readFixed(bytes: Buffer): StoredFields {
  return read(bytes, FIXED_TYPES);
}

/** @throws RangeError when the bytes are cut short */
export function readState(bytes: Buffer): StoredFields {
  return read(bytes, ALL_TYPES);
}

/** What stands behind the fixed part, without a look into it. @throws RangeError when the bytes are cut short */
export function behindFixed(bytes: Buffer): Buffer {
  return bytes.subarray(bytes.readUInt16BE(0));
}

function read(bytes: Buffer, types: readonly Type[]): StoredFields {
  const numbers = Array.from<number>({ length: ALL_TYPES.length }).fill(0);
  const texts = Array.from<string>({ length: ALL_TYPES.length }).fill('');
  let at = 0;
  for (let i = 0; i < types.length; i++) {
    const type = types[i] as Type;
    const number = readNumber(bytes, at, type);
    at += TYPES[type][1];
    if (isText(type)) texts[i] = bytes.toString('utf8', at, (at += number));
    else numbers[i] = number;
  }
  if (at > bytes.length) throw new RangeError('a stored record is cut short');
  return { numbers, texts, rest: bytes.subarray(at) };
}

function readNumber(bytes: Buffer, at: number, type: Type): number {
  if (type === 'f64') return bytes.readDoubleBE(at);
  // Buffer reads up to six bytes at once.
  if (type === 'u56') return bytes.readUInt8(at) * 2 ** 48 + bytes.readUIntBE(at + 1, 6);
  return bytes.readUIntBE(at, TYPES[type][1]);
}
