// SPDX-License-Identifier: Apache-2.0
export type Packed = number | string | boolean | null | readonly Packed[];

/** Reads what cmsgpack.pack wrote, at the start of the bytes. Numbers are exact up to 2^53. @throws Error on any other type */
export function unpack(bytes: Buffer): { readonly value: Packed; readonly rest: Buffer } {
  const reader = new Reader(bytes);
  const value = reader.read();
  return { value, rest: bytes.subarray(reader.at) };
}

/** Types by their first byte, as far as Redis' cmsgpack writes them for arrays of strings and numbers. */
class Reader {
  readonly #bytes: Buffer;
  at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  read(): Packed {
    const type = this.#bytes.readUInt8(this.#take(1));
    if (type < 0x80) return type;
    if (type >= 0xe0) return type - 0x100;
    if (type >= 0xa0 && type < 0xc0) return this.#text(type & 0x1f);
    if (type >= 0x90 && type < 0xa0) return this.#list(type & 0x0f);
    return type < 0xca ? constant(type) : this.#sized(type);
  }

  #sized(type: number): Packed {
    const bytes = this.#bytes;
    switch (type) {
      case 0xca:
        return bytes.readFloatBE(this.#take(4));
      case 0xcb:
        return bytes.readDoubleBE(this.#take(8));
      case 0xcc:
        return bytes.readUInt8(this.#take(1));
      case 0xcd:
        return bytes.readUInt16BE(this.#take(2));
      case 0xce:
        return bytes.readUInt32BE(this.#take(4));
      case 0xcf:
        return Number(bytes.readBigUInt64BE(this.#take(8)));
      case 0xd0:
        return bytes.readInt8(this.#take(1));
      case 0xd1:
        return bytes.readInt16BE(this.#take(2));
      case 0xd2:
        return bytes.readInt32BE(this.#take(4));
      case 0xd3:
        return Number(bytes.readBigInt64BE(this.#take(8)));
      case 0xd9:
        return this.#text(bytes.readUInt8(this.#take(1)));
      case 0xda:
        return this.#text(bytes.readUInt16BE(this.#take(2)));
      case 0xdb:
        return this.#text(bytes.readUInt32BE(this.#take(4)));
      case 0xdc:
        return this.#list(bytes.readUInt16BE(this.#take(2)));
      default:
        throw unknownType(type);
    }
  }

  /** Answers where the next `size` bytes start, and steps over them. */
  #take(size: number): number {
    const start = this.at;
    this.at += size;
    return start;
  }

  #text(size: number): string {
    const start = this.#take(size);
    return this.#bytes.toString('utf8', start, start + size);
  }

  #list(size: number): Packed[] {
    const items: Packed[] = [];
    for (let i = 0; i < size; i++) items.push(this.read());
    return items;
  }
}

function constant(type: number): Packed {
  if (type === 0xc0) return null;
  if (type === 0xc2 || type === 0xc3) return type === 0xc3;
  throw unknownType(type);
}

function unknownType(type: number): Error {
  return new Error(`a stored value has the unknown type 0x${type.toString(16)}`);
}
