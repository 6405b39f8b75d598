// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '#base/clock.ts';
import type { Logger } from '#base/logger.ts';
import { fitBytes } from '#kube/fit-bytes.ts';
import type { AdmissionHandler, AdmissionRequest, Verdict } from '../admission/types.ts';
import { WebhookError, webhookError } from '../errors.ts';
import type { WebhookErrorCode } from '../errors.ts';
import type { Result, WebhookMetrics } from '../metrics.ts';
import { allowedAnswer, errorAnswer, statusBody, verdictAnswer } from './answer.ts';
import { ignoreError } from './call.ts';
import type { AnswerOptions, Call } from './call.ts';
import type { Connection } from './connections.ts';
import { ANSWER_MS, BODY_MS, CHUNK_COST_BYTES, MAX_BODY_BYTES } from './limits.ts';
import type { Loads, UnderWay } from './load.ts';
import { readReview } from './review.ts';
import { handlerOf } from './routes.ts';
import type { Route } from './routes.ts';

/** Of a refusal's sentence in the log: an author may make it as long as his annotations. */
const LOGGED_BYTES = 1024;
/** Headers that belong to an error. */
const HEADERS: Readonly<Partial<Record<WebhookErrorCode, Readonly<Record<string, string>>>>> = {
  // Retry-After has no place here: an API server that meets one waits and asks again, until the review's time is up.
  'method-not-allowed': { allow: 'POST' },
};
const MEDIA_TYPE = /^application\/json *(?:;|$)/i;

export interface ExchangeContext {
  readonly routes: ReadonlyMap<string, Route>;
  readonly load: Loads;
  /** Milliseconds that a call may take, by its URL. */
  readonly deadlineOf: (url: string) => number;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: WebhookMetrics;
}

/** One call from its headers to its answer: read, understood, handed to its handler, answered once, whatever comes in between. */
export class Exchange implements UnderWay {
  readonly connection: Connection;
  place: UnderWay['place'] = undefined;
  readonly #call: Call;
  readonly #context: ExchangeContext;
  readonly #startedAt: number;
  readonly #route: Route | undefined;
  readonly #lateAt: number;
  /** `answered`: what is left is the client's reading. */
  #phase: 'reading' | 'handling' | 'answered' | 'gone' = 'reading';
  #deadlineAt: number;
  #chunks: Buffer[] = [];
  #bytes = 0;
  #request: AdmissionRequest | undefined;
  #deadline: AbortController | undefined;

  constructor(call: Call, context: ExchangeContext) {
    this.#call = call;
    this.#context = context;
    this.#startedAt = context.clock.monotonic();
    this.connection = call.connection;
    this.#lateAt = this.#startedAt + context.deadlineOf(call.url);
    this.#deadlineAt = Math.min(this.#lateAt, this.#startedAt + BODY_MS);
    const query = call.url.indexOf('?');
    this.#route = context.routes.get(query < 0 ? call.url : call.url.slice(0, query));
  }

  get deadlineAt(): number {
    return this.#deadlineAt;
  }

  start(): void {
    const { body } = this.#call;
    // A client that leaves is no error of ours; `onGone` tells of it.
    body.on('error', ignoreError);
    body.on('data', (chunk: Buffer) => this.#take(chunk));
    this.#call.onGone(() => this.#left());
    const wrong = this.#wrongHead() ?? (this.#context.load.reading.enter(this) ? undefined : tooBusy());
    if (wrong !== undefined) this.#refuseCall(wrong);
    else body.on('end', () => this.#received());
  }

  /** Its time is up. */
  expire(): void {
    if (this.#phase === 'reading') {
      this.#refuseCall(webhookError('too-slow', 'the review did not arrive within its time'));
    } else if (this.#phase === 'handling') {
      this.#giveUp(webhookError('late', 'the review could not be done within its time'));
    } else this.#call.cut();
  }

  yieldPlace(): void {
    if (this.#phase === 'reading') this.#refuseCall(tooBusy());
    else if (this.#phase === 'handling') this.#giveUp(tooBusy());
    else this.#call.cut();
  }

  #giveUp(error: WebhookError): void {
    this.#deadline?.abort(error);
    this.#failed(error);
  }

  #wrongHead(): WebhookError | undefined {
    const { method, headers } = this.#call;
    if (this.#route === undefined) {
      return webhookError('not-found', `known here: ${[...this.#context.routes.keys()].join(', ')}`);
    }
    if (method !== 'POST') return webhookError('method-not-allowed', 'reviews come by POST');
    if (!MEDIA_TYPE.test(headers['content-type'] ?? '')) {
      return webhookError('wrong-media-type', 'Content-Type must be application/json');
    }
    if ((headers['content-encoding'] ?? 'identity') !== 'identity') {
      return webhookError('wrong-media-type', 'Content-Encoding is not understood: send the review as it is');
    }
    return Number(headers['content-length'] ?? 0) > MAX_BODY_BYTES ? tooLarge() : undefined;
  }

  #take(chunk: Buffer): void {
    if (this.#phase !== 'reading') return;
    if (this.#bytes + chunk.length > MAX_BODY_BYTES) return this.#refuseCall(tooLarge());
    if (!this.#context.load.reading.hold(this, chunk.length + CHUNK_COST_BYTES)) return this.#refuseCall(tooBusy());
    this.#bytes += chunk.length;
    // A small piece must not keep the whole of what was read from the connection at once.
    this.#chunks.push(chunk.length * 2 < chunk.buffer.byteLength ? Buffer.from(chunk) : chunk);
  }

  #received(): void {
    if (this.#phase !== 'reading') return;
    this.#phase = 'handling';
    this.#context.load.reading.leave(this);
    const [first, ...more] = this.#chunks;
    const body = first !== undefined && more.length === 0 ? first : Buffer.concat(this.#chunks);
    this.#chunks = [];
    try {
      const review = readReview(body);
      if ('request' in review) this.#dispatch(review.request, review.bytes);
      else this.#undecided(review.uid, webhookError('bad-review', review.fault));
    } catch (err) {
      this.#refuseCall(err instanceof WebhookError ? err : webhookError('malformed', 'the body cannot be read', err));
    }
  }

  #dispatch(request: AdmissionRequest, bytes: number): void {
    this.#request = request;
    const handle = handlerOf(this.#route as Route, request);
    if (handle === undefined) return this.#done('allowed', allowedAnswer(request.uid));
    if (handle === 'misrouted') {
      const { group, resource } = request.resource;
      const path = this.#call.url.split('?', 1)[0];
      return this.#failed(webhookError('misrouted', `${path} does not review ${resource}${group && `.${group}`}`));
    }
    this.#run(handle, request, bytes);
  }

  #run(handle: AdmissionHandler, request: AdmissionRequest, bytes: number): void {
    this.#deadline = new AbortController();
    try {
      const verdict = handle(request, this.#deadline.signal);
      // Most are decided at once; a turn of the event loop for each would show in the tail.
      if (verdict instanceof Promise) {
        verdict.then((later) => this.#decided(request, later)).catch((err: unknown) => this.#threw(err));
        this.#wait(bytes);
      } else this.#decided(request, verdict);
    } catch (err) {
      this.#threw(err);
    }
  }

  #wait(bytes: number): void {
    const { waiting } = this.#context.load;
    this.#deadlineAt = this.#lateAt;
    if (!waiting.enter(this) || !waiting.hold(this, bytes)) this.#giveUp(tooBusy());
  }

  #decided(request: AdmissionRequest, verdict: Verdict): void {
    if (this.#phase !== 'handling') return;
    const answer = verdictAnswer(request, verdict);
    this.#done(verdict.refusal === undefined ? 'allowed' : 'refused', answer);
    if (verdict.refusal === undefined) return;
    const { namespace, name, operation, userInfo } = request;
    const { code, message } = verdict.refusal;
    this.#context.logger.info(
      {
        webhook: this.#route?.webhook,
        operation,
        namespace,
        name,
        user: userInfo.username,
        code,
        why: fitBytes(message, LOGGED_BYTES),
      },
      'refused',
    );
  }

  #threw(err: unknown): void {
    if (this.#phase !== 'handling') return;
    this.#failed(webhookError('internal', 'the webhook failed on this review; its log has the reason', err));
  }

  /** Trouble of our own, or of the configuration, with a review that was understood. */
  #failed(error: WebhookError): void {
    const request = this.#request;
    const route = this.#route;
    if (this.#phase !== 'handling' || request === undefined || route === undefined) return;
    const { uid, namespace, name } = request;
    // Under load there is one for each of many; the metric counts them.
    this.#context.logger[error.code === 'busy' ? 'debug' : 'error'](
      { webhook: route.webhook, namespace, name, code: error.code, err: error },
      'review failed',
    );
    this.#undecided(uid, error);
  }

  /** A pod that is refused stays refused whatever the configuration's `failurePolicy` says: that is only for calls that fail. */
  #undecided(uid: string, error: WebhookError): void {
    this.#context.metrics.failed(error.code, this.#request?.namespace);
    const passes = this.#route?.failOpen === true;
    const warning = `penstock: passed without being looked at: ${error.message}`;
    this.#done('error', passes ? allowedAnswer(uid, [warning]) : errorAnswer(uid, error));
  }

  /** There is nothing to answer to but the call itself. */
  #refuseCall(error: WebhookError): void {
    if (this.#phase === 'answered' || this.#phase === 'gone') return;
    this.#context.metrics.failed(error.code);
    this.#context.logger.debug({ path: this.#call.url, code: error.code, why: error.message }, 'call refused');
    const unread = this.#phase === 'reading' && !this.#call.body.readableEnded;
    this.#answer('error', error.status, statusBody(error), { unread, headers: HEADERS[error.code] ?? {} });
  }

  #done(result: Result, answer: Buffer): void {
    this.#answer(result, 200, answer);
  }

  #answer(result: Result, status: number, body: Buffer, options?: AnswerOptions): void {
    const { load, metrics, clock } = this.#context;
    const now = clock.monotonic();
    const namespace = this.#request?.namespace;
    this.#phase = 'answered';
    this.#forget();
    this.place?.share.load.leave(this);
    metrics.answered(this.#route?.webhook ?? 'none', result, (now - this.#startedAt) / 1000, namespace);
    this.#call.answer(status, body, options);
    // Until the client has taken it: one that never does must not have us keep it.
    this.#deadlineAt = now + ANSWER_MS;
    if (!load.answered.enter(this) || !load.answered.hold(this, body.length)) this.#call.cut();
  }

  /** The stream keeps its exchange until it is closed for good: reviews that are held for so long are most of what the collector copies. */
  #forget(): void {
    this.#chunks = [];
    this.#request = undefined;
    this.#deadline = undefined;
  }

  /** The call has ended: with its answer, or because the client left before it was out. */
  #left(): void {
    const { metrics } = this.#context;
    const isAnswered = this.#phase === 'answered';
    this.#phase = 'gone';
    this.place?.share.load.leave(this);
    // Node's own streams stay until a whole collection (see Http2Call: theirs has such a closure). This must not stay with them.
    this.#call.body.removeAllListeners('data').removeAllListeners('end');
    if (isAnswered) return;
    this.#deadline?.abort(new Error('the client left'));
    this.#forget();
    metrics.gone();
  }
}

function tooLarge(): WebhookError {
  return webhookError('too-large', `the review is larger than ${MAX_BODY_BYTES} bytes`);
}

function tooBusy(): WebhookError {
  return webhookError('busy', 'too many reviews are under way; try again');
}
