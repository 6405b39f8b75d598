// SPDX-License-Identifier: Apache-2.0
import { HostDied, NotReady, clip } from '../errors.ts';
import type { WorkItem } from '../executor.ts';
import type { Answer, Ask, Channel, ItemAnswer, Message, WireError } from './protocol.ts';

export interface InstanceOptions {
  readonly handler: string;
  readonly instance: number;
  readonly unit: string;
  readonly app: string;
}

export type Predicted =
  | { readonly ok: true; readonly answers: readonly { readonly answer: ItemAnswer; readonly body: Uint8Array }[] }
  /** predict threw, or did not answer what it must, for the batch as a whole. */
  | { readonly ok: false; readonly error: WireError };

type Reply = Extract<Answer, { ok: true }>;
type Waiter = { readonly resolve: (m: Message & { head: Answer }) => void; readonly reject: (err: HostDied) => void };
type AskBody<T> = T extends { id: number } ? Omit<T, 'id'> : never;

/** One loaded copy of a handler behind a channel; the same for threads and child processes. */
export class Instance {
  readonly #channel: Channel;
  readonly #waiters = new Map<number, Waiter>();
  #lastId = 0;
  #closed: HostDied | undefined;
  #killing = false;
  readonly #died = Promise.withResolvers<HostDied>();

  constructor(channel: Channel) {
    this.#channel = channel;
    channel.onMessage((message) => this.#receive(message));
    channel.onClose((reason) => this.#close(new HostDied(reason)));
  }

  /** Resolves when the host ended although nobody killed it. */
  get died(): Promise<HostDied> {
    return this.#died.promise;
  }

  get killed(): boolean {
    return this.#killing;
  }

  /** Answers what the handler declares as its batch size. @throws NotReady */
  async load(options: InstanceOptions): Promise<number | undefined> {
    try {
      const reply = await this.#ask({ op: 'load', ...options }, []);
      return reply.head.batchSize;
    } catch (err) {
      throw new NotReady(`the handler did not load: ${err instanceof Error ? err.message : String(err)}`, {
        cause: err,
      });
    }
  }

  /** @throws HostDied */
  async predict(items: readonly WorkItem[]): Promise<Predicted> {
    const head = { op: 'predict', items: items.map(({ id, contentType }) => ({ id, contentType })) } as const;
    const answer = await this.#exchange(
      head,
      items.map(({ body }) => body),
    );
    if (!answer.head.ok) return { ok: false, error: answer.head.error };
    const { answers = [] } = answer.head;
    if (answers.length !== items.length || answer.parts.length !== items.length)
      return { ok: false, error: { kind: 'handler', message: 'the host answered a wrong number of results' } };
    return {
      ok: true,
      answers: answers.map((one, index) => ({ answer: one, body: answer.parts[index] ?? new Uint8Array() })),
    };
  }

  /** @throws NotReady when the handler says that it must not go on */
  async health(): Promise<void> {
    try {
      await this.#ask({ op: 'health' }, []);
    } catch (err) {
      throw new NotReady(`not healthy: ${err instanceof Error ? err.message : String(err)}`, { cause: err });
    }
  }

  abort(item: string): void {
    if (this.#closed === undefined) this.#channel.send({ head: { op: 'abort', item }, parts: [] });
  }

  async kill(): Promise<void> {
    this.#killing = true;
    await this.#channel.kill();
  }

  async #ask(ask: AskBody<Ask>, parts: readonly Uint8Array[]): Promise<{ head: Reply }> {
    const { head } = await this.#exchange(ask, parts);
    if (!head.ok) throw new HostDied(clip(head.error.message));
    return { head };
  }

  #exchange(ask: AskBody<Ask>, parts: readonly Uint8Array[]): Promise<Message & { head: Answer }> {
    if (this.#closed !== undefined) return Promise.reject(this.#closed);
    const id = ++this.#lastId;
    const { promise, resolve, reject } = Promise.withResolvers<Message & { head: Answer }>();
    this.#waiters.set(id, { resolve, reject });
    this.#channel.send({ head: { ...ask, id }, parts });
    return promise;
  }

  #receive({ head, parts }: Message): void {
    if (!('re' in head)) return;
    const waiter = this.#waiters.get(head.re);
    this.#waiters.delete(head.re);
    waiter?.resolve({ head, parts });
  }

  #close(reason: HostDied): void {
    this.#closed = reason;
    for (const waiter of this.#waiters.values()) waiter.reject(reason);
    this.#waiters.clear();
    if (!this.#killing) this.#died.resolve(reason);
  }
}
