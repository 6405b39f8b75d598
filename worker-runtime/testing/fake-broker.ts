// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { isObject } from '#base/json.ts';
import type { WireLease, WirePayload } from '#base/wire/broker.ts';

/** One request as the fake keeps it. */
export interface FakeRequest {
  readonly id: string;
  readonly body: WirePayload;
  state: 'queued' | 'leased' | 'succeeded' | 'failed' | 'cancelled';
  attempt: number;
  cancelRequested: boolean;
  expiresAt: number;
  result?: { contentType: string; body: Buffer };
  cause?: { kind: string; message: string };
  releases: number;
  losses: number;
}

export interface FakeOptions {
  readonly leaseSeconds?: number;
  readonly timeoutSeconds?: number;
  /** Tells the unit to leave after so long without work; default: never. */
  readonly lingerMs?: number;
  readonly maxAttempts?: number;
  /** Leases of one answer, whatever was asked for; default: as many as asked for. */
  readonly givesAtMost?: number;
}

/**
 * The broker's wire over a queue in memory: what the lease loop's unit tests run against. Its rules are a sketch of the gateway's
 * (one app, one tenant, arrival order); the gateway itself is met in test/integration.
 */
export class FakeBroker {
  readonly requests = new Map<string, FakeRequest>();
  readonly calls: { readonly call: string; readonly body: Record<string, unknown> }[] = [];
  readonly #options: Required<FakeOptions>;
  readonly #blobs = new Map<string, Buffer>();
  #server: Server | undefined;
  #port = 0;
  #nextId = 1;
  #session = 0;
  #lastWork = Date.now();
  /** Answers 401 to token calls. */
  refusesTokens = false;
  /** The next so many transfers of either direction are refused like an expired URL. */
  refusesTransfers = 0;
  /** Calls of this name are cut off unanswered. */
  cuts: string | undefined;
  /** `complete` is looked at only once this has resolved. */
  completesAfter: Promise<void> = Promise.resolve();
  /** Session tokens made so far are no longer valid. */
  #validFrom = 1;

  constructor(options: FakeOptions = {}) {
    this.#options = {
      leaseSeconds: 30,
      timeoutSeconds: 30,
      lingerMs: Infinity,
      maxAttempts: 3,
      givesAtMost: Infinity,
      ...options,
    };
  }

  get origin(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  async start(): Promise<void> {
    const server = createServer((request, response) => void this.#serve(request, response));
    server.listen(this.#port, '127.0.0.1');
    await once(server, 'listening');
    this.#port = (server.address() as AddressInfo).port;
    this.#server = server;
  }

  /** Cuts every connection; the queue stays. `start` again listens on the same port. */
  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (server === undefined) return;
    const closed = once(server, 'close');
    server.close();
    server.closeAllConnections();
    await closed;
  }

  expireSessions(): void {
    this.#validFrom = this.#session + 1;
  }

  add(body: string | Uint8Array, contentType = 'application/json', contentEncoding?: string): FakeRequest {
    const bytes = Buffer.from(body);
    const id = `req-${this.#nextId++}`;
    const request: FakeRequest = {
      id,
      body: {
        content_type: contentType,
        bytes: bytes.length,
        ...this.#place(`body-${id}`, bytes),
        ...(contentEncoding ? { content_encoding: contentEncoding } : {}),
      },
      state: 'queued',
      attempt: 0,
      cancelRequested: false,
      expiresAt: 0,
      releases: 0,
      losses: 0,
    };
    this.requests.set(id, request);
    return request;
  }

  callsOf(call: string): number {
    return this.calls.filter((one) => one.call === call).length;
  }

  #place(name: string, bytes: Buffer): Partial<WirePayload> {
    if (bytes.length <= 16 * 1024) return { inline: bytes.toString('base64') };
    this.#blobs.set(name, bytes);
    return { url: `${this.origin}/blobs/${name}` };
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = request.url ?? '';
    if (path.startsWith('/blobs/')) return this.#serveBlob(path.slice('/blobs/'.length), request, response);
    const call = path.slice('/internal/v1/'.length);
    const body = parse(await text(request).catch(() => ''));
    this.calls.push({ call, body });
    if (call === this.cuts) return void response.destroy();
    const authorized = call === 'token' ? !this.refusesTokens : this.#knows(request.headers.authorization);
    const answer = authorized ? await this.#answer(call, body, request) : undefined;
    if (this.#server === undefined) return void response.destroy();
    response.writeHead(answer === undefined ? 401 : 200, { 'content-type': 'application/json' });
    response.end(JSON.stringify(answer ?? { detail: 'refused' }));
  }

  async #serveBlob(name: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
    if (this.refusesTransfers > 0) {
      this.refusesTransfers--;
      response.writeHead(403).end();
    } else if (request.method === 'PUT') {
      this.#blobs.set(name, Buffer.concat(chunks));
      response.end();
    } else response.end(this.#blobs.get(name));
  }

  #knows(authorization: string | undefined): boolean {
    return Number(/^Bearer session-(\d+)$/.exec(authorization ?? '')?.[1] ?? 0) >= this.#validFrom;
  }

  async #answer(call: string, body: Record<string, unknown>, request: IncomingMessage): Promise<unknown> {
    const held = list(body['leases']);
    this.#expire();
    if (call === 'token') return { token: `session-${++this.#session}`, expires_at: Date.now() + 600_000 };
    if (call === 'lease') return this.#lease(Number(body['max']), Number(body['wait_seconds']) * 1000, request);
    if (call === 'extend') return { leases: held.map((one) => this.#extend(one)) };
    if (call === 'release') return { leases: held.map((one) => ({ id: one['id'], outcome: this.#release(one) })) };
    if (call === 'complete') {
      await this.completesAfter;
      return { results: list(body['results']).map((one) => ({ id: one['id'], outcome: this.#complete(one) })) };
    }
    if (call === 'fail')
      return { failures: list(body['failures']).map((one) => ({ id: one['id'], outcome: this.#fail(one) })) };
    const name = `result-${String(body['id'])}-${Math.random()}`;
    return { url: `${this.origin}/blobs/${name}`, method: 'PUT', headers: {}, name, expires_at: Date.now() + 60_000 };
  }

  async #lease(max: number, waitMs: number, request: IncomingMessage): Promise<unknown> {
    const until = Date.now() + waitMs;
    const { lingerMs, givesAtMost } = this.#options;
    const most = Math.min(max, givesAtMost);
    for (;;) {
      this.#expire();
      const gone = request.socket.destroyed || this.#server === undefined;
      const given = gone ? [] : [...this.requests.values()].filter((one) => one.state === 'queued').slice(0, most);
      if (given.length > 0) {
        this.#lastWork = Date.now();
        return { verdict: 'stay', leases: given.map((one) => this.#give(one)) };
      }
      const anyHeld = [...this.requests.values()].some((one) => one.state === 'leased');
      if (anyHeld) this.#lastWork = Date.now();
      if (Date.now() - this.#lastWork >= lingerMs) return { leases: [], verdict: 'leave' };
      if (gone || Date.now() >= until) return { leases: [], verdict: 'stay' };
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  #give(request: FakeRequest): WireLease {
    request.state = 'leased';
    request.attempt++;
    request.expiresAt = Date.now() + this.#options.leaseSeconds * 1000;
    return {
      id: request.id,
      lease_token: String(request.attempt),
      lane: 'online',
      attempt: request.attempt,
      tenant: 'default',
      body: request.body,
      lease_seconds: this.#options.leaseSeconds,
      timeout_seconds: this.#options.timeoutSeconds,
    };
  }

  #expire(): void {
    for (const request of this.requests.values()) {
      if (request.state !== 'leased' || request.expiresAt > Date.now()) continue;
      request.state = 'queued';
      request.losses++;
    }
  }

  #owned(held: Record<string, unknown>): FakeRequest | undefined {
    const request = this.#last(held);
    return request?.state === 'leased' ? request : undefined;
  }

  /** A result is taken also after its lease ran out, as long as nobody has leased the request again. */
  #last(held: Record<string, unknown>): FakeRequest | undefined {
    const request = this.requests.get(String(held['id']));
    const isLive = request?.state === 'leased' || request?.state === 'queued';
    return isLive && String(request.attempt) === held['lease_token'] ? request : undefined;
  }

  #extend(held: Record<string, unknown>): unknown {
    const request = this.#owned(held);
    if (request !== undefined) request.expiresAt = Date.now() + this.#options.leaseSeconds * 1000;
    const cancel = request?.cancelRequested === true ? { cancel: true } : {};
    return { id: held['id'], ok: request !== undefined, ...cancel };
  }

  #release(held: Record<string, unknown>): string {
    const request = this.#owned(held);
    if (request === undefined) return 'lost';
    request.releases++;
    request.state = request.cancelRequested ? 'cancelled' : 'queued';
    return request.state === 'cancelled' ? 'cancelled' : 'requeued';
  }

  #complete(completion: Record<string, unknown>): string {
    const request = this.#last(completion);
    const result = completion['result'];
    if (request === undefined || !isObject(result)) return 'lost';
    const { inline, name } = result;
    const body = typeof inline === 'string' ? Buffer.from(inline, 'base64') : this.#blobs.get(String(name));
    request.state = 'succeeded';
    request.result = { contentType: String(result['content_type']), body: body ?? Buffer.alloc(0) };
    return 'committed';
  }

  #fail(call: Record<string, unknown>): string {
    const request = this.#owned(call);
    if (request === undefined) return 'lost';
    const cause = isObject(call['cause']) ? call['cause'] : {};
    request.cause = { kind: String(cause['kind']), message: String(cause['message']) };
    const final = request.cause.kind === 'input' || request.attempt >= this.#options.maxAttempts;
    request.state = final ? 'failed' : 'queued';
    return final ? 'failed' : 'requeued';
  }
}

function list(value: unknown): readonly Record<string, unknown>[] {
  return Array.isArray(value) ? value.filter(isObject) : [];
}

function parse(json: string): Record<string, unknown> {
  if (json === '') return {};
  const value: unknown = JSON.parse(json);
  return isObject(value) ? value : {};
}
