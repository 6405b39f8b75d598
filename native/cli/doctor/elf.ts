// SPDX-License-Identifier: Apache-2.0
import * as fs from 'node:fs';

/** What the loader has to know of a program or an object. */
export interface ElfFile {
  readonly bits: 32 | 64;
  readonly machine: number;
  /** The program that loads it; undefined: none, it is linked statically (or is a library). */
  readonly interpreter: string | undefined;
}

const MAGIC = 0x7f454c46;
/** Offsets and sizes of the header's members that differ between the two classes. */
const CLASSES = {
  1: { bits: 32, header: 52, phoff: 28, phentsize: 42, phnum: 44, offset: 4, filesz: 16 },
  2: { bits: 64, header: 64, phoff: 32, phentsize: 54, phnum: 56, offset: 8, filesz: 32 },
} as const;
const PT_INTERP = 3;
/** A path, as the kernel takes it. */
const MAX_INTERPRETER_BYTES = 4096;
/** Real programs have a dozen. */
const MAX_HEADERS = 512;

/** `e_machine` of the machines that Penstock is built for, by Node's name. */
export const MACHINES: Readonly<Record<string, number>> = { x64: 62, arm64: 183 };
const NAMES: Readonly<Record<number, string>> = {
  3: 'x86 (32 bit)',
  8: 'MIPS',
  20: 'PowerPC',
  21: 'PowerPC64',
  22: 's390x',
  40: 'ARM (32 bit)',
  62: 'x86-64',
  183: 'ARM64',
  243: 'RISC-V',
};

export function machineName(machine: number): string {
  return NAMES[machine] ?? `machine ${machine}`;
}

/** The first bytes of a file, fewer when it is shorter. */
export function readHead(path: string, size: number, position = 0): Buffer {
  const fd = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
  try {
    const bytes = Buffer.alloc(size);
    return bytes.subarray(0, fs.readSync(fd, bytes, 0, size, position));
  } finally {
    fs.closeSync(fd);
  }
}

/** Undefined when the file is no ELF file, or a broken one. Bytes are not trusted. */
export function readElf(path: string): ElfFile | undefined {
  const head = readHead(path, 64);
  if (head.length < 52 || head.readUInt32BE(0) !== MAGIC) return undefined;
  const layout = CLASSES[head[4] as 1 | 2];
  if (layout === undefined || head.length < layout.header) return undefined;
  const big = head[5] === 2;
  const machine = big ? head.readUInt16BE(18) : head.readUInt16LE(18);
  const { bits } = layout;
  // Of another byte order: of another machine, and nothing more has to be known.
  if (big) return { bits, machine, interpreter: undefined };
  return { bits, machine, interpreter: readInterpreter(path, head, layout) };
}

function readInterpreter(path: string, head: Buffer, layout: (typeof CLASSES)[1 | 2]): string | undefined {
  const word = (bytes: Buffer, at: number): number =>
    layout.bits === 64 ? Number(bytes.readBigUInt64LE(at)) : bytes.readUInt32LE(at);
  const entry = head.readUInt16LE(layout.phentsize);
  const count = Math.min(head.readUInt16LE(layout.phnum), MAX_HEADERS);
  if (entry < layout.filesz + 8) return undefined;
  const position = word(head, layout.phoff);
  if (!Number.isSafeInteger(position)) return undefined;
  const table = readHead(path, entry * count, position);
  for (let at = 0; at + entry <= table.length; at += entry) {
    if (table.readUInt32LE(at) !== PT_INTERP) continue;
    const offset = word(table, at + layout.offset);
    const size = Math.min(word(table, at + layout.filesz), MAX_INTERPRETER_BYTES);
    if (!Number.isSafeInteger(offset)) return undefined;
    const [text = ''] = readHead(path, size, offset).toString('utf8').split('\0');
    return text;
  }
  return undefined;
}

export function isMusl(interpreter: string): boolean {
  return /(?:^|\/)ld-musl-[^/]*$/.test(interpreter);
}
