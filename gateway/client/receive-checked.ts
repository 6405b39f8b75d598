// SPDX-License-Identifier: Apache-2.0
import type { IncomingMessage, ServerResponse } from 'node:http';
import { storeUnavailable } from '../errors.ts';
import { INLINE_LIMIT_BYTES } from '../queue/lease-queue.ts';
import type { Payload } from '../queue/lease-queue.ts';
import type { ObjectStore } from '../store/object-store.ts';
import type { BodyPlan } from './body-plan.ts';
import { bodyChunks, readHead, withinWire } from './body-source.ts';
import { decoded } from './decoding.ts';
import { createInspector } from './inspector.ts';
import { encodingOf, holdInline } from './receive.ts';
import type { ReceivedBody } from './receive.ts';
import type { BodyCheck } from './schema/body-checks.ts';
import { notJson } from './schema/problems.ts';

/**
 * Reads a body whole (an app with a schema has `maxBytes` ≤ 8 MiB), has it checked, and only then stores it.
 * @param key the object's key, asked for only when the body needs one
 * @throws ProblemError 400, 409, 413, 415, 422, 503; ClientGone
 */
export async function receiveChecked(
  req: IncomingMessage,
  res: ServerResponse,
  plan: BodyPlan,
  check: BodyCheck,
  store: ObjectStore,
  key: () => string,
): Promise<ReceivedBody> {
  if (!plan.json) throw notJson();
  if (req.headers.expect !== undefined) res.writeContinue();
  const holding = meter(check);
  try {
    if (plan.coding !== 'identity') return await receiveWhole(bodyChunks(req), plan, check, holding, store, key);
    const head = await readHead(req, plan);
    if (head.more) return await receiveWhole(bodyChunks(req, head.bytes), plan, check, holding, store, key);
    holding.add(head.bytes.length);
    // Refuses what is not UTF-8: the text that is checked is the text that workers read.
    const body = await holdInline(head.bytes, plan);
    await check.run(head.bytes.toString('utf8'));
    return body;
  } finally {
    holding.end();
  }
}

interface Holding {
  add(bytes: number): void;
  end(): void;
}

function meter(check: BodyCheck): Holding {
  let held = 0;
  return {
    add: (bytes) => {
      check.hold(bytes);
      held += bytes;
    },
    end: () => check.hold(-held),
  };
}

async function receiveWhole(
  source: AsyncIterable<Buffer>,
  plan: BodyPlan,
  check: BodyCheck,
  holding: Holding,
  store: ObjectStore,
  key: () => string,
): Promise<ReceivedBody> {
  const wire: Buffer[] = [];
  async function* kept(): AsyncGenerator<Buffer, void, undefined> {
    for await (const chunk of withinWire(source, plan)) {
      holding.add(chunk.length);
      if (plan.coding === 'gzip') wire.push(chunk);
      yield chunk;
    }
  }
  const plain: BodyPlan = { ...plan, coding: 'identity' };
  const inspector = createInspector(plain);
  const chunks: Buffer[] = [];
  for await (const chunk of plan.coding === 'identity' ? kept() : decoded(kept(), plan.coding)) {
    if (plan.coding !== 'identity') holding.add(chunk.length);
    await inspector.push(chunk);
    chunks.push(chunk);
  }
  const facts = await inspector.end();
  const text = Buffer.concat(chunks);
  await check.run(text.toString('utf8'));
  const payload = await hold(
    plan.coding === 'gzip' ? { plan, bytes: Buffer.concat(wire) } : { plan: plain, bytes: text },
    store,
    key,
  );
  return { payload, ...facts };
}

/** Workers read gzip, which stays; what came in another coding is stored decoded. */
async function hold(
  { plan, bytes }: { readonly plan: BodyPlan; readonly bytes: Buffer },
  store: ObjectStore,
  key: () => string,
): Promise<Payload> {
  const facts = { contentType: plan.contentType, ...encodingOf(plan), bytes: bytes.length };
  if (bytes.length <= INLINE_LIMIT_BYTES) return { ...facts, inline: bytes };
  const name = key();
  try {
    await store.put(name, bytes, { contentType: plan.contentType });
  } catch (err) {
    throw storeUnavailable(err);
  }
  return { ...facts, key: name };
}
