// SPDX-License-Identifier: Apache-2.0
import jsonpatch from 'fast-json-patch';
import type { Operation } from 'fast-json-patch';
import { connect } from 'node:http2';
import type { LoadTarget } from './webhook-load.ts';
import type { Review } from './webhook-reviews.ts';

type Json = Record<string, unknown>;

/**
 * Checks that two servers make the same pods of the same reviews; else their speeds are of two different things. What a person reads
 * is compared by its presence.
 */
export async function checkSame(ours: LoadTarget, peer: LoadTarget, reviews: readonly Review[]): Promise<number> {
  const [mine, theirs] = [await podsOf(ours, reviews), await podsOf(peer, reviews)];
  let changed = 0;
  mine.forEach((pod, at) => {
    const [left, right] = [canonical(pod), canonical(theirs[at])];
    if (left !== right)
      throw new Error(`product and peer make different pods of review ${at}: ${difference(left, right)}`);
    if (left !== canonical((JSON.parse(reviews[at]?.body ?? '') as { request: { object: Json } }).request.object))
      changed += 1;
  });
  return changed;
}

async function podsOf({ port }: LoadTarget, reviews: readonly Review[]): Promise<unknown[]> {
  const session = connect(`https://127.0.0.1:${port}`, { rejectUnauthorized: false });
  try {
    const pods: unknown[] = [];
    for (const { path, body } of reviews) {
      const stream = session.request({ ':method': 'POST', ':path': path, 'content-type': 'application/json' });
      stream.setEncoding('utf8').end(body);
      let text = '';
      for await (const chunk of stream) text += String(chunk);
      const { response } = JSON.parse(text) as { response: { allowed: boolean; patch?: string } };
      if (!response.allowed) throw new Error(`refused: ${text}`);
      const patch = JSON.parse(Buffer.from(response.patch ?? 'W10=', 'base64').toString()) as Operation[];
      const { object } = (JSON.parse(body) as { request: { object: Json } }).request;
      pods.push(jsonpatch.applyPatch(object, patch, true).newDocument);
    }
    return pods;
  } finally {
    session.close();
  }
}

/** One text for equal values, whatever the order of their keys. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (key, part: unknown) => {
    if (key === 'penstock.dev/slice-status') return 'for people';
    if (typeof part !== 'object' || part === null || Array.isArray(part)) return part;
    return Object.fromEntries(Object.entries(part).toSorted(([a], [b]) => (a < b ? -1 : 1)));
  });
}

/** Both texts around the place from which on they differ. */
function difference(left: string, right: string): string {
  let at = 0;
  while (left[at] === right[at]) at += 1;
  const around = (text: string): string => `…${text.slice(Math.max(0, at - 60), at + 60)}…`;
  return `${around(left)} and ${around(right)}`;
}
