// SPDX-License-Identifier: Apache-2.0

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_OBJECT = 0x7b;
const OPEN_ARRAY = 0x5b;
const CLOSE_OBJECT = 0x7d;
const CLOSE_ARRAY = 0x5d;

export interface JsonBounds {
  readonly depth: number;
  readonly containers: number;
}

/**
 * How many objects and arrays are in JSON text, or what of these bounds it goes beyond. It is not checked for being JSON: JSON.parse does that, but only after it
 * has made an array for each of seven million brackets.
 */
export function jsonContainers(text: Uint8Array, { depth, containers }: JsonBounds): number | 'depth' | 'containers' {
  let open = 0;
  let made = 0;
  for (let at = 0; at < text.length; at++) {
    const byte = text[at];
    if (byte === QUOTE) {
      at = endOfString(text, at);
    } else if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) {
      open += 1;
      made += 1;
      if (open > depth) return 'depth';
      if (made > containers) return 'containers';
    } else if (byte === CLOSE_OBJECT || byte === CLOSE_ARRAY) open -= 1;
  }
  return made;
}

/** Where the string that begins at `start` has its closing quote; the text's length when it has none. */
function endOfString(text: Uint8Array, start: number): number {
  for (let at = start + 1; at < text.length; at++) {
    const byte = text[at];
    if (byte === QUOTE) return at;
    if (byte === BACKSLASH) at += 1;
  }
  return text.length;
}
