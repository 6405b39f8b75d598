// SPDX-License-Identifier: Apache-2.0

const ELLIPSIS = '…';

/** `text`, cut so that its UTF-8 form has at most `max` bytes (the API server counts bytes), never inside a character. */
export function fitBytes(text: string, max: number): string {
  const whole = text.toWellFormed();
  if (Buffer.byteLength(whole) <= max) return whole;
  const room = max - Buffer.byteLength(ELLIPSIS);
  let end = 0;
  let used = 0;
  for (const character of whole) {
    used += Buffer.byteLength(character);
    if (used > room) break;
    end += character.length;
  }
  return whole.slice(0, end) + ELLIPSIS;
}
