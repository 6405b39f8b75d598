// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { connect, constants } from 'node:http2';
import type { ClientHttp2Session } from 'node:http2';
import type { KubeAddress } from '#test/servers/apiserver.ts';
import { median } from './statistics.ts';
import { LANES } from './webhook-configurations.ts';
import type { Lane } from './webhook-configurations.ts';
import { plainPod } from './webhook-reviews.ts';

/** Rounds of creates: one pod of each lane, in turns. */
const ROUNDS = 400;
/** Caches, connections and compiled code of all that take part. */
const WARM_UP = 100;
const CREATED = 201;
const NAMES = Object.keys(LANES) as Lane[];

export interface CreateTimes {
  /** Medians in milliseconds. */
  readonly took: Readonly<Record<Lane, number>>;
  /** Medians of the differences to `nobody` within a round. */
  readonly added: Readonly<Record<Lane, number>>;
}

/**
 * How long whoever creates a pod waits for it, by who is called for it, through a real kube-apiserver, one after another.
 * @param sliced tells from the pod that came back whether it was made a slice
 */
export async function measureCreates(kube: KubeAddress, sliced: (pod: string) => boolean): Promise<CreateTimes> {
  const session = connect(kube.server, {
    ca: readFileSync(kube.caFile),
    cert: readFileSync(kube.certFile),
    key: readFileSync(kube.keyFile),
  });
  const create = async (lane: Lane, at: number): Promise<number> => {
    const body = JSON.stringify(plainPod(`pod-${at}`, at));
    const began = performance.now();
    const answer = await post(session, `/api/v1/namespaces/${LANES[lane]}/pods`, body);
    const took = performance.now() - began;
    const expected = lane === 'product' || lane === 'peer';
    if (sliced(answer) !== expected)
      throw new Error(`${lane}: ${expected ? 'not sliced' : 'sliced all the same'}: ${answer.slice(0, 2000)}`);
    return took;
  };
  const rounds: Readonly<Record<Lane, number>>[] = [];
  try {
    for (let at = 0; at < WARM_UP + ROUNDS; at += 1) {
      const took = { nobody: 0, noop: 0, peer: 0, product: 0 };
      // Another one is first each time.
      for (const lane of [...NAMES.slice(at % NAMES.length), ...NAMES.slice(0, at % NAMES.length)])
        took[lane] = await create(lane, at);
      if (at >= WARM_UP) rounds.push(took);
    }
  } finally {
    session.close();
  }
  const medians = (of: (round: Readonly<Record<Lane, number>>, lane: Lane) => number): Record<Lane, number> => {
    const ofLane = (lane: Lane): number => median(rounds.map((round) => of(round, lane)));
    return {
      nobody: ofLane('nobody'),
      noop: ofLane('noop'),
      peer: ofLane('peer'),
      product: ofLane('product'),
    };
  };
  return {
    took: medians((round, lane) => round[lane]),
    added: medians((round, lane) => round[lane] - round.nobody),
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
