// SPDX-License-Identifier: Apache-2.0
import type { Answer, Message } from './protocol.ts';

/**
 * Messages as bytes, for hosts in child processes: u32 length of the head, u32 number of parts, the head as JSON, then for each part
 * u32 length and the bytes. All numbers big-endian.
 */
export function encodeFrame({ head, parts }: Message): Buffer[] {
  const json = Buffer.from(JSON.stringify(head));
  const start = Buffer.alloc(8);
  start.writeUInt32BE(json.length, 0);
  start.writeUInt32BE(parts.length, 4);
  const frame: Buffer[] = [start, json];
  for (const part of parts) {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(part.length);
    frame.push(length, Buffer.from(part.buffer, part.byteOffset, part.byteLength));
  }
  return frame;
}

/** A head holds ids, types and error messages of at most 256 requests. */
const HEAD_LIMIT_BYTES = 4 * 1024 * 1024;
const PARTS_LIMIT = 256;
/** Larger than any result that makes sense; a length beyond it means that something else was written to the pipe. */
const PART_LIMIT_BYTES = 1024 * 1024 * 1024;

/** Takes bytes as they come and answers the messages that are complete. @throws when they are no frames */
export class FrameReader {
  #chunks: Buffer[] = [];
  #size = 0;
  readonly #parse = this.#messages();
  #wanted: number;

  constructor() {
    this.#wanted = this.#next(Buffer.alloc(0)).wanted;
  }

  push(chunk: Buffer): readonly Message[] {
    this.#chunks.push(chunk);
    this.#size += chunk.length;
    const messages: Message[] = [];
    while (this.#size >= this.#wanted) {
      const step = this.#next(this.#take(this.#wanted));
      this.#wanted = step.wanted;
      if (step.message !== undefined) messages.push(step.message);
    }
    return messages;
  }

  #next(bytes: Buffer): { readonly wanted: number; readonly message?: Message } {
    return this.#parse.next(bytes).value;
  }

  /** Exactly `count` bytes; joins chunks only when a field crosses them. */
  #take(count: number): Buffer {
    const all = this.#chunks.length === 1 ? (this.#chunks[0] ?? Buffer.alloc(0)) : Buffer.concat(this.#chunks);
    this.#chunks = [all.subarray(count)];
    this.#size -= count;
    return all.subarray(0, count);
  }

  /** Asks for so many bytes, gets them, and hands out a message along with the next ask. */
  *#messages(): Generator<{ wanted: number; message?: Message }, never, Buffer> {
    let message: Message | undefined;
    for (;;) {
      const start = yield { wanted: 8, ...(message ? { message } : {}) };
      const count = bounded(start.readUInt32BE(4), PARTS_LIMIT, 'parts');
      const json = yield { wanted: bounded(start.readUInt32BE(0), HEAD_LIMIT_BYTES, 'head') };
      const head = JSON.parse(json.toString('utf8')) as Answer;
      const parts: Uint8Array[] = [];
      for (let index = 0; index < count; index++) {
        const length = yield { wanted: 4 };
        // A copy: the chunk it lies in may be far larger than the part.
        parts.push(Buffer.from(yield { wanted: bounded(length.readUInt32BE(), PART_LIMIT_BYTES, 'part') }));
      }
      message = { head, parts };
    }
  }
}

function bounded(value: number, limit: number, what: string): number {
  if (value > limit) throw new Error(`the handler host wrote something that is no message (${what} of ${value})`);
  return value;
}
