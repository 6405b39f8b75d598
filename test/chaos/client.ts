// SPDX-License-Identifier: Apache-2.0
import { Agent, request } from 'undici';
import type { Random } from '#base/random.ts';
import type { RequestState } from '#gateway/queue/lease-queue.ts';
import { APP_NAME } from './fleet.ts';
import type { Fleet, TenantName } from './fleet.ts';
import type { History } from './history.ts';
import { answerOf, bodyOf } from './work.ts';
import type { Task } from './work.ts';

/** What a client wants done, whatever happens on the way. */
export interface Order {
  readonly tenant: TenantName;
  readonly task: Task;
  readonly key?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface ClientOptions {
  readonly fleet: Fleet;
  readonly history: History;
  readonly random: Random;
  /** URLs of the gateways that live; a client tries another one when one does not answer. */
  readonly gateways: () => readonly string[];
}

export interface ChaosClient {
  /** Sends it, again and again while the network fails it. The ticket, or undefined when it was never told of one. */
  submit(order: Order): Promise<string | undefined>;
  status(tenant: TenantName, ticket: string, waitSeconds?: number): Promise<void>;
  cancel(tenant: TenantName, ticket: string): Promise<void>;
  /** Calls that wait for their answer. */
  underWay(): number;
  close(): Promise<void>;
}

interface Call {
  readonly method: 'GET' | 'POST' | 'DELETE';
  readonly path: string;
  readonly tenant: TenantName;
  readonly order?: Order;
  readonly prefer?: string;
}

interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
}

const TRIES = 4;
/** Far above what a gateway that lives takes, waiting included. */
const PATIENCE_MS = 20_000;

/** Clients of the API, several tenants of them. What they are told goes to the history. */
export function createChaosClient({ fleet, history, random, gateways }: ClientOptions): ChaosClient {
  const agent = new Agent({ pipelining: 1, headersTimeout: PATIENCE_MS, bodyTimeout: PATIENCE_MS });
  let underWay = 0;

  const once = async ({ method, path, tenant, order, prefer }: Call): Promise<Reply> => {
    const all = gateways();
    const url = all[Math.floor(random.fraction() * all.length)];
    if (url === undefined) throw new Error('no gateway lives');
    const { statusCode, headers, body } = await request(`${url}/v1/${APP_NAME}${path}`, {
      dispatcher: agent,
      method,
      headers: {
        authorization: `Bearer ${fleet.apiKey(tenant)}`,
        ...(order === undefined ? {} : { 'content-type': 'application/json' }),
        ...(order?.key === undefined ? {} : { 'idempotency-key': order.key }),
        ...(prefer === undefined ? {} : { prefer }),
        ...order?.headers,
      },
      body: order === undefined ? null : bodyOf(order.task),
    });
    return { status: statusCode, headers, body: Buffer.from(await body.arrayBuffer()) };
  };
  const insist = async (call: Call): Promise<Reply | undefined> => {
    underWay += 1;
    try {
      for (let tried = 0; tried < TRIES; tried++) {
        const reply = await once(call).catch(() => undefined);
        if (reply !== undefined && reply.status !== 503) return reply;
        await new Promise((resolve) => void setTimeout(resolve, tried * 4));
      }
      return undefined;
    } finally {
      underWay -= 1;
    }
  };
  const note = (tenant: TenantName, ticket: string, reply: Reply, start: number): void => {
    const span = { start, end: history.now() };
    const id = fleet.idOf(tenant, ticket);
    const state = reply.headers['penstock-state'];
    if (typeof state === 'string') {
      const mark = state === 'succeeded' && reply.status === 200 ? markOf(reply.body) : '';
      history.add({ type: 'state', id, state: state as RequestState, mark, ...span });
    } else if (reply.status === 404 || reply.status === 500)
      history.add({ type: 'unknown', id, what: `${reply.status} ${reply.body.toString().slice(0, 200)}`, ...span });
  };

  return {
    submit: async (order) => {
      const start = history.now();
      const reply = await insist({ method: 'POST', path: '/infer', tenant: order.tenant, order });
      const ticket = reply?.headers['penstock-ticket'];
      if (reply === undefined || typeof ticket !== 'string') return undefined;
      const id = fleet.idOf(order.tenant, ticket);
      const { key } = order;
      const named = { id, tenant: order.tenant, n: order.task.n, ...(key === undefined ? {} : { key }) };
      history.add({ type: 'accepted', ...named, start, end: history.now() });
      note(order.tenant, ticket, reply, start);
      return ticket;
    },
    status: async (tenant, ticket, waitSeconds = 0) => {
      const start = history.now();
      const prefer = `wait=${waitSeconds}`;
      const reply = await insist({ method: 'GET', path: `/status/${ticket}`, tenant, prefer });
      if (reply !== undefined) note(tenant, ticket, reply, start);
    },
    cancel: async (tenant, ticket) => {
      const start = history.now();
      const reply = await insist({ method: 'DELETE', path: `/requests/${ticket}`, tenant });
      if (reply !== undefined && reply.status < 300) note(tenant, ticket, reply, start);
    },
    underWay: () => underWay,
    close: () => agent.destroy(),
  };
}

/** Of results the author: the same request has one result, whoever asks and whenever. */
export function markOf(bytes: Uint8Array): string {
  const answer = answerOf(bytes);
  return answer === undefined ? 'no result of ours' : `${answer.id} by ${answer.unit}, attempt ${answer.attempt}`;
}
