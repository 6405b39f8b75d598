// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { connect, constants } from 'node:http2';
import type { ClientHttp2Session } from 'node:http2';
import type { KubeAddress } from '#test/servers/apiserver.ts';
import { median } from './statistics.ts';
import { plainPod } from './webhook-reviews.ts';

/** Pairs of creates: one pod that the webhook sees, one that it does not, by turns. */
const PAIRS = 400;
/** Caches, connections and compiled code of all that take part. */
const WARM_UP = 100;
const CREATED = 201;

export interface AddedTime {
  /** Medians in milliseconds. */
  readonly withWebhook: number;
  readonly without: number;
  /** Median of the differences within a pair. */
  readonly added: number;
}

/**
 * What the webhook adds to the create of a pod as its author waits for it, through a real kube-apiserver, one after another.
 * @param sliced tells from the pod that came back whether the webhook did its work
 */
export async function measureCreates(
  kube: KubeAddress,
  namespaces: { readonly seen: string; readonly unseen: string },
  sliced: (pod: string) => boolean,
): Promise<AddedTime> {
  const session = connect(kube.server, {
    ca: readFileSync(kube.caFile),
    cert: readFileSync(kube.certFile),
    key: readFileSync(kube.keyFile),
  });
  const create = async (namespace: string, at: number, expected: boolean): Promise<number> => {
    const body = JSON.stringify(plainPod(`pod-${at}`, at));
    const began = performance.now();
    const answer = await post(session, `/api/v1/namespaces/${namespace}/pods`, body);
    const took = performance.now() - began;
    if (sliced(answer) !== expected)
      throw new Error(`the pod was ${expected ? 'not sliced' : 'sliced all the same'}: ${answer.slice(0, 2000)}`);
    return took;
  };
  const pairs: { readonly seen: number; readonly unseen: number }[] = [];
  try {
    for (let at = 0; at < WARM_UP + PAIRS; at += 1) {
      // The first of a pair is the other one each time.
      const turns = at % 2 === 0 ? (['seen', 'unseen'] as const) : (['unseen', 'seen'] as const);
      const took = { seen: 0, unseen: 0 };
      for (const turn of turns) took[turn] = await create(namespaces[turn], at, turn === 'seen');
      if (at >= WARM_UP) pairs.push(took);
    }
  } finally {
    session.close();
  }
  return {
    withWebhook: median(pairs.map(({ seen }) => seen)),
    without: median(pairs.map(({ unseen }) => unseen)),
    added: median(pairs.map(({ seen, unseen }) => seen - unseen)),
  };
}

function post(session: ClientHttp2Session, path: string, body: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const stream = session.request({
      [constants.HTTP2_HEADER_METHOD]: 'POST',
      [constants.HTTP2_HEADER_PATH]: path,
      [constants.HTTP2_HEADER_CONTENT_TYPE]: 'application/json',
    });
    let status = 0;
    let text = '';
    stream.setEncoding('utf8');
    stream.on('response', (headers) => (status = headers[':status'] ?? 0));
    stream.on('data', (chunk: string) => (text += chunk));
    stream.on('end', () => (status === CREATED ? resolve(text) : reject(new Error(`${path}: ${status} ${text}`))));
    stream.on('error', reject);
    stream.end(body);
  });
}
