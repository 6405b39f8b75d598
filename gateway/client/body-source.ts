// SPDX-License-Identifier: Apache-2.0
import type { IncomingMessage } from 'node:http';
import { ClientGone } from '../http/client-gone.ts';
import { INLINE_LIMIT_BYTES } from '../queue/lease-queue.ts';
import { bodyTooLarge } from './body-plan.ts';
import type { BodyPlan } from './body-plan.ts';

export interface Head {
  readonly bytes: Buffer;
  /** The limit was passed: there is more to come, or it is in `bytes` already. */
  readonly more: boolean;
}

/** Reads until the end or past the inline limit, whichever comes first. Plain events: this is the hot path. */
export function readHead(req: IncomingMessage, plan: BodyPlan): Promise<Head> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    const leave = (): void => {
      req.off('data', onData);
      req.off('end', onEnd);
      req.off('error', onGone);
      req.off('close', onGone);
    };
    const settle = (more: boolean): void => {
      leave();
      const [only] = chunks;
      resolve({ bytes: chunks.length === 1 && only !== undefined ? only : Buffer.concat(chunks), more });
    };
    const onData = (chunk: Buffer): void => {
      size += chunk.length;
      chunks.push(chunk);
      if (size > plan.maxWireBytes) {
        leave();
        reject(bodyTooLarge(plan.maxBytes));
      } else if (size > INLINE_LIMIT_BYTES) {
        req.pause();
        settle(true);
      }
    };
    const onEnd = (): void => settle(false);
    const onGone = (): void => {
      leave();
      reject(new ClientGone('the connection ended within the body'));
    };
    req.on('data', onData);
    req.once('end', onEnd);
    req.once('error', onGone);
    req.once('close', onGone);
  });
}

/** The body as it comes, after what was read of it already. @throws ClientGone */
export async function* bodyChunks(req: IncomingMessage, head?: Buffer): AsyncGenerator<Buffer, void, undefined> {
  if (head !== undefined) yield head;
  try {
    // The connection is the answer's too: leaving the loop early must not destroy it.
    for await (const chunk of req.iterator({ destroyOnReturn: false })) yield chunk as Buffer;
  } catch (err) {
    throw new ClientGone('the connection ended within the body', { cause: err });
  }
}

/** @throws ProblemError 413 beyond what the plan allows on the wire */
export async function* withinWire(
  source: AsyncIterable<Buffer>,
  plan: BodyPlan,
): AsyncGenerator<Buffer, void, undefined> {
  let bytes = 0;
  for await (const chunk of source) {
    bytes += chunk.length;
    if (bytes > plan.maxWireBytes) throw bodyTooLarge(plan.maxBytes);
    yield chunk;
  }
}
