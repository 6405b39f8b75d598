// SPDX-License-Identifier: Apache-2.0
import { RESULT_INLINE_LIMIT_BYTES } from '#base/wire/broker.ts';
import type { WireResult } from '#base/wire/broker.ts';
import type { UnitIdentity } from '../auth/sessions.ts';
import { gatewayError, storeUnavailable } from '../errors.ts';
import { INLINE_LIMIT_BYTES } from '../queue/lease-queue.ts';
import type { Held, Payload } from '../queue/lease-queue.ts';
import { resultKey } from '../store/keys.ts';
import { storedType } from '../store/stored-type.ts';
import type { BrokerContext } from './context.ts';

type Facts = Omit<Payload, 'inline' | 'key'>;

/** A result whose own words are in order, and what is left to do until the queue may take it. */
export type PlaceResult = () => Promise<Payload>;

/**
 * Checks what a unit says of one result, without asking anyone. Small results stay in the record, larger ones go to the object store
 * when placed; one that was uploaded is looked for there.
 * @throws ProblemError 400 naming the member of `field`
 */
export function checkResult(
  context: BrokerContext,
  unit: UnitIdentity,
  held: Held,
  result: WireResult,
  field: string,
): PlaceResult {
  const { content_type: contentType, content_encoding: contentEncoding, bytes, inline, name } = result;
  const facts = { contentType, bytes, ...(contentEncoding === undefined ? {} : { contentEncoding }) };
  const key = resultKey(unit.appUid, held.id, held.token);
  if (name !== undefined) {
    if (inline !== undefined) throw badResult(`${field}.name`, 'leave out name or inline: a result is in one place');
    if (name !== key) throw badResult(`${field}.name`, 'send the name that upload-url answered for this very lease');
    return () => uploaded(context, facts, key, field);
  }
  const data = decode(facts, inline ?? '', field);
  if (data.length > INLINE_LIMIT_BYTES) return () => stored(context, unit, held, facts, data, key);
  return async () => (data.length === 0 ? facts : { ...facts, inline: data });
}

function decode(facts: Facts, inline: string, field: string): Buffer {
  const bytes = Buffer.from(inline, 'base64');
  if (bytes.length !== facts.bytes) throw badResult(`${field}.bytes`, `must be the size of inline, ${bytes.length}`);
  if (bytes.length > RESULT_INLINE_LIMIT_BYTES) {
    throw badResult(`${field}.inline`, `must have at most ${RESULT_INLINE_LIMIT_BYTES} bytes; use upload-url for more`);
  }
  return bytes;
}

/**
 * The queue knows the object's name before the object exists, so that it has someone who removes it whatever happens. An attempt of
 * which the queue will note nothing can commit nothing new either: `complete` will say what has become of it, and needs no object.
 */
async function stored(
  { queue, store }: BrokerContext,
  unit: UnitIdentity,
  { id, token }: Held,
  facts: Facts,
  bytes: Uint8Array,
  key: string,
): Promise<Payload> {
  if (await queue.noteObject(unit.appUid, id, token, key)) {
    await store.put(key, bytes, { contentType: storedType(facts) }).catch((err: unknown) => {
      throw storeUnavailable(err);
    });
  }
  return { ...facts, key };
}

async function uploaded({ store }: BrokerContext, facts: Facts, key: string, field: string): Promise<Payload> {
  const info = await store.head(key).catch((err: unknown) => {
    throw storeUnavailable(err);
  });
  if (info?.bytes === facts.bytes) return { ...facts, key };
  const found = info === undefined ? 'no object' : `${info.bytes} bytes`;
  throw gatewayError('upload-missing', `the result has ${facts.bytes} bytes, under its name is ${found}`, {
    field: `${field}.${info === undefined ? 'name' : 'bytes'}`,
    fix: 'finish the upload, then complete with its exact size',
  });
}

function badResult(field: string, fix: string): Error {
  return gatewayError('bad-body', `${field}: ${fix}`, { field, fix });
}
