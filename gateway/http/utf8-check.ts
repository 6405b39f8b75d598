// SPDX-License-Identifier: Apache-2.0
import { isUtf8 } from 'node:buffer';

/** Checks UTF-8 (RFC 3629) as it streams by, whatever the chunks cut apart. */
export class Utf8Check {
  /** Head of a sequence that the next chunk has to complete: 0 to 3 bytes. */
  #cut: Uint8Array = new Uint8Array(0);

  /**
   * @returns where the first sequence that is no UTF-8 begins, counted from the start of `chunk`, so below 0 when a chunk before it
   *   began it; undefined while all is well. A fault is final: nothing more is to be pushed
   */
  push(chunk: Uint8Array): number | undefined {
    const cut = this.#cut;
    let from = 0;
    if (cut.length > 0) {
      from = Math.min(lengthAt(cut, 0) - cut.length, chunk.length);
      const whole = Buffer.concat([cut, chunk.subarray(0, from)]);
      if (whole.length < lengthAt(whole, 0)) {
        this.#cut = whole;
        return undefined;
      }
      if (!isUtf8(whole)) return -cut.length;
    }
    const to = chunk.length - cutLength(chunk.subarray(from));
    // A copy: the chunk's memory is not ours.
    this.#cut = new Uint8Array(chunk.subarray(to));
    const text = chunk.subarray(from, to);
    return isUtf8(text) ? undefined : from + firstFault(text);
  }
}

/** Bytes of the sequence that starts there, by its first byte; 0 where none can start. */
function lengthAt(bytes: Uint8Array, at: number): number {
  const lead = bytes[at] ?? 0;
  if (lead < 0x80) return 1;
  if (lead < 0xc2 || lead > 0xf4) return 0;
  return lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

/** Bytes at the end that begin a sequence and do not end it. */
function cutLength(bytes: Uint8Array): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const at = bytes.length - back;
    if (((bytes[at] ?? 0) & 0xc0) !== 0x80) return lengthAt(bytes, at) > back ? back : 0;
  }
  return 0;
}

/** Of text that has one. Halves where it may lie: all steps together look at as much as the text is long, in native code. */
function firstFault(text: Uint8Array): number {
  let good = 0;
  for (let size = text.length >> 1; size > 3; size >>= 1) {
    const part = text.subarray(good, good + size);
    const whole = part.subarray(0, size - cutLength(part));
    if (isUtf8(whole)) good += whole.length;
  }
  while (good < text.length) {
    const length = lengthAt(text, good);
    if (length === 0 || !isUtf8(text.subarray(good, good + length))) return good;
    good += length;
  }
  return good;
}
