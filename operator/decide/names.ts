// SPDX-License-Identifier: Apache-2.0
import type { Random } from '#base/random.ts';

/** Digits and consonants: no word is ever spelled, and each may begin or end a DNS label. */
const ALPHABET = '0123456789bcdfghjklmnpqrstvwxyz';
/** 31^11 ≈ 2^54 names: unique for ever for any number of units an app will have. */
const SUFFIX_LENGTH = 11;

/** <app>-<random>, at most 52 characters: the Job's pods get 6 more and stay within a label's 63. */
export function unitName(app: string, random: Random): string {
  let suffix = '';
  while (suffix.length < SUFFIX_LENGTH) {
    // Bytes from the ragged end of the range are drawn again, so that every letter is equally likely.
    for (const byte of random.bytes(SUFFIX_LENGTH)) {
      if (byte < 248 && suffix.length < SUFFIX_LENGTH) suffix += ALPHABET.charAt(byte % ALPHABET.length);
    }
  }
  return `${app}-${suffix}`;
}
