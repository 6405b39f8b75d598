// SPDX-License-Identifier: Apache-2.0
// A client as a careful person would write it: what was not answered is sent again under the same Idempotency-Key.
import { setTimeout as delay } from 'node:timers/promises';

const FIRST_PAUSE_MS = 50;
const LAST_PAUSE_MS = 1_000;
/** A restarting container is back in half of this; then the test has found something. */
const GIVE_UP_MS = 90_000;
/** One call: the longest wait that we ask for is 30 s. */
const CALL_MS = 45_000;
const WAIT_SECONDS = 30;

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Buffer<ArrayBuffer>;
}

export interface Ended extends Answer {
  readonly ticket: string;
  /** Calls that got no answer and were made again. */
  readonly repeats: number;
}

/** GET /v1/{app}/requests/{id}, as much of it as is looked at. */
export interface RequestView {
  readonly state: string;
  readonly attempts: readonly { readonly unit: string; readonly outcome?: string }[];
}

export interface Submission {
  readonly key?: string;
  readonly contentType?: string;
  /** Prefer: wait=N. */
  readonly waitSeconds?: number;
}

export class Client {
  readonly url: string;
  private readonly apiKey: string;

  constructor(url: string, apiKey: string) {
    this.url = url;
    this.apiKey = apiKey;
  }

  /** One call, once. */
  async call(
    method: string,
    path: string,
    headers: Record<string, string> = {},
    body?: Uint8Array<ArrayBuffer> | string,
  ): Promise<Answer> {
    const response = await fetch(`${this.url}${path}`, {
      method,
      headers: { 'x-api-key': this.apiKey, ...headers },
      signal: AbortSignal.timeout(CALL_MS),
      ...(body === undefined ? {} : { body }),
    });
    return { status: response.status, headers: response.headers, body: Buffer.from(await response.arrayBuffer()) };
  }

  infer(
    app: string,
    body: Uint8Array<ArrayBuffer> | string,
    { key, contentType = 'text/plain', waitSeconds = 0 }: Submission = {},
  ): Promise<Answer> {
    const headers: Record<string, string> = { 'content-type': contentType, prefer: `wait=${waitSeconds}` };
    if (key !== undefined) headers['idempotency-key'] = key;
    return this.call('POST', `/v1/${app}/infer`, headers, body);
  }

  /** Posts and follows until the request has ended; gives up only when nobody has answered for a long time. */
  async inferToEnd(app: string, body: string, key: string): Promise<Ended> {
    const posted = await this.persist(() => this.infer(app, body, { key, waitSeconds: WAIT_SECONDS }));
    const ticket = ticketOf(posted.answer);
    let { answer, repeats } = posted;
    while (answer.status === 202) {
      const look = await this.persist(() =>
        this.call('GET', `/v1/${app}/status/${ticket}`, { prefer: `wait=${WAIT_SECONDS}` }),
      );
      ({ answer } = look);
      repeats += look.repeats;
    }
    return { ...answer, ticket, repeats };
  }

  async request(app: string, ticket: string): Promise<RequestView> {
    const { answer } = await this.persist(() => this.call('GET', `/v1/${app}/requests/${ticket}`));
    if (answer.status !== 200) throw new Error(`${ticket}: ${answer.status} ${answer.body.toString()}`);
    return JSON.parse(answer.body.toString()) as RequestView;
  }

  /** Again while the connection fails or the gateway says that it can't at the moment. */
  private async persist(call: () => Promise<Answer>): Promise<{ answer: Answer; repeats: number }> {
    const end = performance.now() + GIVE_UP_MS;
    for (let repeats = 0, pause = FIRST_PAUSE_MS; ; repeats += 1, pause = Math.min(pause * 2, LAST_PAUSE_MS)) {
      try {
        const answer = await call();
        if (answer.status !== 503 || performance.now() > end) return { answer, repeats };
      } catch (error) {
        if (performance.now() > end) throw error;
      }
      await delay(pause);
    }
  }
}

export function ticketOf(answer: Answer): string {
  const ticket = answer.headers.get('penstock-ticket');
  if (ticket === null) throw new Error(`no ticket in ${answer.status} ${answer.body.toString()}`);
  return ticket;
}
