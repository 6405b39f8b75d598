// SPDX-License-Identifier: Apache-2.0
import { hash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { ProblemError } from '#base/problem.ts';
import { isObject } from '#base/json.ts';
import { storeUnavailable } from '../errors.ts';
import { parseJson } from '../http/json-body.ts';
import { INLINE_LIMIT_BYTES } from '../queue/lease-queue.ts';
import type { Payload } from '../queue/lease-queue.ts';
import type { ObjectStore } from '../store/object-store.ts';
import { bodyTooLarge } from './body-plan.ts';
import type { BodyPlan } from './body-plan.ts';
import { bodyChunks, readHead, withinWire } from './body-source.ts';
import { decoded } from './decoding.ts';
import { ridOf } from './idempotency.ts';
import { createInspector } from './inspector.ts';
import type { BodyFacts } from './inspector.ts';

/** A body that is held (inline) or stored (object): as it came, or decoded when it came in a coding that workers do not read. */
export interface ReceivedBody extends BodyFacts {
  readonly payload: Payload;
}

/**
 * Reads a body: up to 16 KiB into memory, more straight into the object store while it is inspected.
 * @param key the object's key, asked for only when the body needs one
 * @throws ProblemError 400, 413, 503; ClientGone
 */
export async function receiveBody(
  req: IncomingMessage,
  res: ServerResponse,
  plan: BodyPlan,
  store: ObjectStore,
  key: () => string,
): Promise<ReceivedBody> {
  if (req.headers.expect !== undefined) res.writeContinue();
  const { coding } = plan;
  // Workers read gzip; what they do not read is stored decoded.
  if (coding === 'deflate' || coding === 'zstd') return await receiveDecoded(req, coding, plan, store, key);
  const head = await readHead(req, plan);
  if (!head.more) return await holdInline(head.bytes, plan);
  return await storeObject(bodyChunks(req, head.bytes), plan, store, key());
}

async function receiveDecoded(
  req: IncomingMessage,
  coding: 'deflate' | 'zstd',
  plan: BodyPlan,
  store: ObjectStore,
  key: () => string,
): Promise<ReceivedBody> {
  const plain: BodyPlan = { ...plan, coding: 'identity', maxWireBytes: plan.maxBytes };
  const source = decoded(withinWire(bodyChunks(req), plan), coding);
  try {
    const chunks: Buffer[] = [];
    let size = 0;
    while (size <= INLINE_LIMIT_BYTES) {
      const next = await source.next();
      if (next.done === true) return await holdInline(Buffer.concat(chunks), plain);
      chunks.push(next.value);
      size += next.value.length;
      if (size > plan.maxBytes) throw bodyTooLarge(plan.maxBytes);
    }
    return await storeObject(resumed(Buffer.concat(chunks), source), plain, store, key());
  } finally {
    await source.return();
  }
}

async function* resumed(head: Buffer, rest: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void, undefined> {
  yield head;
  yield* rest;
}

export async function holdInline(bytes: Buffer, plan: BodyPlan): Promise<ReceivedBody> {
  const payload: Payload = {
    contentType: plan.contentType,
    ...encodingOf(plan),
    bytes: bytes.length,
    ...(bytes.length === 0 ? {} : { inline: bytes }),
  };
  if (plan.coding !== 'identity') {
    const inspector = createInspector(plan);
    try {
      await inspector.push(bytes);
      return { payload, ...(await inspector.end()) };
    } finally {
      inspector.close();
    }
  }
  const digest = hash('sha256', Buffer.concat([Buffer.from(`${plan.contentType}\0`), bytes]));
  return { payload, digest, rid: plan.json ? ridOfSmall(bytes) : undefined };
}

function ridOfSmall(bytes: Buffer): string | undefined {
  const value = parseJson(bytes);
  return isObject(value) && Object.hasOwn(value, '_rid') ? ridOf(value['_rid']) : undefined;
}

export function encodingOf({ coding }: BodyPlan): Pick<Payload, 'contentEncoding'> {
  return coding === 'identity' ? {} : { contentEncoding: coding };
}

async function storeObject(
  source: AsyncIterable<Buffer>,
  plan: BodyPlan,
  store: ObjectStore,
  key: string,
): Promise<ReceivedBody> {
  const inspector = createInspector(plan);
  let failure: unknown;
  let facts: BodyFacts | undefined;
  let bytes = 0;

  async function* inspected(): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      for await (const chunk of source) {
        bytes += chunk.length;
        if (bytes > plan.maxWireBytes) throw bodyTooLarge(plan.maxBytes);
        await inspector.push(chunk);
        yield chunk;
      }
      facts = await inspector.end();
    } catch (err) {
      failure = err;
      throw err;
    }
  }

  const stream = Readable.from(inspected(), { objectMode: false });
  try {
    await store.put(key, stream, { contentType: plan.contentType });
  } catch (err) {
    // What is wrong with the body explains the failed put, never the other way round.
    throw failure ?? (err instanceof ProblemError && err.status < 500 ? err : storeUnavailable(err));
  } finally {
    stream.destroy();
    inspector.close();
  }
  if (facts === undefined) throw failure ?? storeUnavailable(new Error('the store ended the upload early'));
  const payload: Payload = {
    contentType: plan.contentType,
    ...encodingOf(plan),
    bytes,
    key,
  };
  return { payload, ...facts };
}
