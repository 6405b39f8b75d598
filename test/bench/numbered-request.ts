// SPDX-License-Identifier: Apache-2.0
import { requestBytes } from './http-connection.ts';

const DIGITS = 12;
let last = 0;

/**
 * A POST whose body is JSON of `bytes` bytes, another one at each call of `next`: a repeat would join the first instead of being accepted.
 * The digits change in place, so that making a request costs the load generator next to nothing.
 */
export class NumberedRequest {
  readonly #bytes: Buffer;
  readonly #at: number;

  constructor(path: string, headers: Readonly<Record<string, string>>, bytes: number) {
    const around = JSON.stringify({ prompt: '', max_tokens: 64 }).length;
    const body = JSON.stringify({ prompt: 'x'.repeat(bytes - around), max_tokens: 64 });
    this.#bytes = requestBytes({ method: 'POST', path, headers, body });
    this.#at = this.#bytes.length - body.length + body.indexOf('x');
  }

  next(): Buffer {
    last += 1;
    this.#bytes.write(String(last).padStart(DIGITS, '0'), this.#at, 'latin1');
    return this.#bytes;
  }
}
