// SPDX-License-Identifier: Apache-2.0
import { QueueError } from '#gateway/queue/errors.ts';
import type {
  CancelOutcome,
  EnqueueOutcome,
  Completion,
  ExtendOutcome,
  Held,
  Lease,
  LeaseAnswer,
  LeaseQueue,
  NewRequest,
  QueueEvent,
  Redrive,
  RedriveOutcome,
} from '#gateway/queue/lease-queue.ts';
import type { History, Span } from './history.ts';
import { never } from './never.ts';

/** What meets one call of a gateway to its queue. `kill-…`: the gateway dies before it, while it is under way, or before its answer is used. */
export type CallFault = 'fail-before' | 'fail-after' | 'kill-before' | 'kill-during' | 'kill-after';

export interface TapOptions {
  readonly queue: LeaseQueue;
  readonly history: History;
  /** The queue's clock; absent = its own. */
  readonly now?: () => number;
  /** Asked at every call; what it answers happens to this one. */
  readonly fault?: (method: string) => CallFault | undefined;
  /** The fault says so: the gateway must go now. */
  readonly kill?: () => void;
  readonly isDead?: () => boolean;
  /** Whose work goes to the batch lane: no route of the gateway leads there yet, its units take it all the same. */
  readonly isBatch?: (request: NewRequest) => boolean;
}

export interface Tap {
  readonly queue: LeaseQueue;
  /** As if the 5 s of the re-check were over: everyone who waits looks again. */
  nudge(events: readonly QueueEvent[]): void;
  /** Calls whose answer is not there yet. */
  underWay(): number;
  /** Calls made so far. */
  calls(): number;
}

/** Where `now` stands among the arguments. */
const NOW_AT: Readonly<Record<string, number>> = {
  enqueue: 1,
  lease: 1,
  extend: 4,
  complete: 3,
  fail: 3,
  release: 3,
  cancel: 2,
  expire: 1,
  retire: 2,
  setShares: 2,
  redrive: 2,
  discard: 2,
  salvage: 3,
  sweep: 1,
  noteObject: 4,
  purge: 2,
};
/** Not calls to the store: never broken. */
const LOCAL = new Set(['subscribe', 'onRegression', 'generations', 'close', 'constructor', 'then']);

/**
 * Stands between a gateway and its queue: tells the history what went through, gives every call the schedule's time, breaks calls on
 * order, and lets nothing through any more once the gateway is dead.
 */
export function tapQueue(options: TapOptions): Tap {
  const { queue, history } = options;
  const listeners = new Set<(event: QueueEvent) => void>();
  const dead = (): boolean => options.isDead?.() ?? false;
  let underWay = 0;
  let calls = 0;

  const call = async (method: string, args: readonly unknown[]): Promise<unknown> => {
    if (dead()) return await never();
    const fault = options.fault?.(method);
    if (fault === 'kill-before') options.kill?.();
    if (dead()) return await never();
    if (fault === 'fail-before') throw broken(method);
    const start = history.now();
    noteCall(history, method, args, start);
    calls += 1;
    const given = method === 'enqueue' ? [inLanes(args[0] as readonly NewRequest[], options.isBatch)] : args;
    const running = invoke(queue, method, withNow(method, given, options.now));
    if (fault === 'kill-during') options.kill?.();
    const answer = await running;
    if (fault === 'kill-after') options.kill?.();
    if (dead()) return await never();
    const span = { start, end: history.now(), ...(options.now === undefined ? {} : { time: options.now() }) };
    note(history, method, args, answer, span);
    if (fault === 'fail-after') throw broken(method);
    return answer;
  };
  const counted = async (method: string, args: readonly unknown[]): Promise<unknown> => {
    underWay += 1;
    try {
      return await call(method, args);
    } finally {
      underWay -= 1;
    }
  };
  const subscribe = (listener: (event: QueueEvent) => void): (() => void) => {
    listeners.add(listener);
    const off = queue.subscribe((event) => {
      if (!dead()) listener(event);
    });
    return () => {
      listeners.delete(listener);
      off();
    };
  };
  const tapped = new Proxy(queue, {
    get: (target, name) => {
      if (name === 'subscribe') return subscribe;
      const found: unknown = Reflect.get(target, name);
      if (typeof found !== 'function') return found;
      const method = String(name);
      return LOCAL.has(method) ? found.bind(target) : (...args: unknown[]) => counted(method, args);
    },
  });
  return {
    queue: tapped,
    nudge: (events) => {
      for (const listener of listeners) for (const event of events) listener(event);
    },
    underWay: () => underWay,
    calls: () => calls,
  };
}

async function invoke(queue: LeaseQueue, method: string, args: readonly unknown[]): Promise<unknown> {
  return await (Reflect.get(queue, method) as (...given: readonly unknown[]) => Promise<unknown>).apply(queue, [
    ...args,
  ]);
}

function inLanes(requests: readonly NewRequest[], isBatch: TapOptions['isBatch']): readonly NewRequest[] {
  if (isBatch === undefined) return requests;
  return requests.map((request) => (isBatch(request) ? { ...request, lane: 'batch' } : request));
}

function withNow(method: string, args: readonly unknown[], now: (() => number) | undefined): readonly unknown[] {
  const place = NOW_AT[method];
  if (now === undefined || place === undefined) return args;
  return [...args.slice(0, place), ...Array<undefined>(Math.max(0, place - args.length)), now()];
}

function broken(method: string): QueueError {
  return new QueueError('unavailable', `chaos: ${method} was broken off`);
}

/** Written before the call, as its answer may never come: a request may be there from here on, a lease may be over. */
function noteCall(history: History, method: string, args: readonly unknown[], start: number): void {
  if (method === 'enqueue')
    for (const { id } of args[0] as readonly NewRequest[]) history.add({ type: 'offered', id, start, end: start });
  if (method === 'redrive')
    for (const { id, newId } of args[1] as readonly Redrive[])
      history.add({ type: 'offered', id: newId, letter: id, start, end: start });
  if (method === 'discard')
    for (const id of args[1] as readonly string[]) history.add({ type: 'discarding', id, start, end: start });
  if (method !== 'complete' && method !== 'fail' && method !== 'release') return;
  for (const { id, token } of args[2] as readonly Held[])
    history.add({ type: 'ending', id, nonce: token.nonce, start, end: start });
}

/** `time`: the schedule's, when the answer came. */
interface Timed extends Span {
  readonly time?: number;
}

interface Answered extends Span {
  readonly time: number | undefined;
}

function note(
  history: History,
  method: string,
  args: readonly unknown[],
  answer: unknown,
  { time, ...span }: Timed,
): void {
  if (method === 'enqueue') {
    for (const outcome of answer as readonly EnqueueOutcome[])
      if (outcome.kind === 'queued')
        history.add({ type: 'taken', id: outcome.record.id, time: time ?? outcome.record.createdAt, ...span });
  } else if (method === 'lease') {
    const { unit } = args[0] as { readonly unit: string };
    for (const lease of (answer as LeaseAnswer).leases)
      noteLease(history, unit, lease, { ...span, ...(time === undefined ? {} : { time }) });
  } else if (method === 'extend') noteExtended(history, args, answer as readonly ExtendOutcome[], span);
  else if (method === 'complete' || method === 'fail' || method === 'release') {
    const unit = args[1] as string;
    (args[2] as readonly (Held | Completion)[]).forEach(({ id, token }, i) => {
      const outcome = (answer as readonly string[])[i] ?? 'none';
      history.add({ type: 'settled', call: method, id, ...token, unit, outcome, ...span });
    });
  } else noteOther(history, method, args, answer, { time, ...span });
}

function noteOther(
  history: History,
  method: string,
  args: readonly unknown[],
  answer: unknown,
  { time, ...span }: Answered,
): void {
  if (method === 'cancel')
    history.add({ type: 'cancel', id: args[1] as string, outcome: answer as CancelOutcome, ...span });
  else if (method === 'retire')
    history.add({ type: 'retire', unit: args[1] as string, outcome: answer as string, ...span });
  else if (method === 'discard')
    history.add({ type: 'discarded', ids: args[1] as readonly string[], count: answer as number, ...span });
  else if (method === 'redrive') noteRedriven(history, args, answer as readonly RedriveOutcome[], { time, ...span });
}

function noteRedriven(
  history: History,
  args: readonly unknown[],
  answer: readonly RedriveOutcome[],
  { time, ...span }: Answered,
): void {
  (args[1] as readonly Redrive[]).forEach(({ id: from, newId }, i) => {
    const outcome = answer[i];
    if (outcome?.kind !== 'redriven' && outcome?.kind !== 'joined') return;
    const { id, createdAt } = outcome.record;
    if (id === newId) history.add({ type: 'taken', id, time: time ?? createdAt, ...span });
    history.add({ type: 'redriven', from, id, kind: outcome.kind, ...span });
  });
}

function noteLease(
  history: History,
  unit: string,
  { id, token, record, expiresAt }: Lease,
  { time, ...span }: Timed,
): void {
  // A call that was long under way carries a time that is long past: others have moved the queue on meanwhile.
  const at = time ?? record.attempts.at(-1)?.leasedAt ?? 0;
  history.add({ type: 'leased', id, ...token, unit, at, expiresAt, ...span });
}

function noteExtended(history: History, args: readonly unknown[], answer: readonly ExtendOutcome[], span: Span): void {
  (args[2] as readonly Held[]).forEach(({ id, token }, i) => {
    const { ok, expiresAt } = answer[i] ?? { ok: false };
    if (ok && expiresAt !== undefined) history.add({ type: 'extended', id, nonce: token.nonce, expiresAt, ...span });
  });
}
