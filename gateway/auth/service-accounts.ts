// SPDX-License-Identifier: Apache-2.0
import { hash } from 'node:crypto';
import type { Clock } from '#base/clock.ts';
import { isObject } from '#base/json.ts';
import type { Logger } from '#base/logger.ts';
import { counter } from '#base/metrics.ts';
import type { Registry } from '#base/metrics.ts';
import type { Reviewed } from '#kube/token-review.ts';
import { gatewayError } from '../errors.ts';
import { CREDENTIAL_MAX_CHARS, TOKEN_CACHE_MAX, TOKEN_REVIEWS_MAX, TOKEN_REVIEWS_WAITING_MAX } from '../limits.ts';
import type { ServiceAccount } from './tenants.ts';
import { refuse } from './jwt.ts';

/** Audience that a token must be meant for: a pod's ordinary token, made for the API server, is refused here and stays useless to us. */
export const TOKEN_AUDIENCE = 'penstock';
/** How long a verdict is believed: a deleted pod or account loses its access this much later. Never beyond the token's own end. */
const ACCEPTED_MS = 60_000;
/** A refusal is forgotten sooner: an account may have been made a moment after its token was first tried. */
const REFUSED_MS = 10_000;

export interface ServiceAccountsOptions {
  /** Asks the API server; undefined = it knows no such token. @throws when it cannot be asked */
  readonly review: (token: string) => Promise<Reviewed | undefined>;
  readonly clock: Pick<Clock, 'now'>;
  readonly logger: Logger;
  readonly registry: Registry;
}

export interface ServiceAccounts {
  /**
   * Whose token this is: at once when it was asked about in the last minute.
   * @throws ProblemError 401; 503 while the API server cannot be asked
   */
  identify(token: string): ServiceAccount | Promise<ServiceAccount>;
}

interface Verdict {
  /** Undefined: refused. */
  readonly account: ServiceAccount | undefined;
  readonly until: number;
}

const USERNAME = /^system:serviceaccount:([^:]+):([^:]+)$/;

/** Tokens of Kubernetes ServiceAccounts, confirmed by TokenReview. Kept are digests of tokens, never a token. */
export function createServiceAccounts(options: ServiceAccountsOptions): ServiceAccounts {
  const { clock, review } = options;
  const count = reviewCounter(options.registry);
  const verdicts = new Map<string, Verdict>();
  const underway = new Map<string, Promise<Verdict>>();
  const slots = createSlots(TOKEN_REVIEWS_MAX, TOKEN_REVIEWS_WAITING_MAX);

  const ask = async (token: string, digest: string, exp: number): Promise<Verdict> => {
    try {
      const reviewed = await slots(() => review(token));
      const account = accountOf(reviewed);
      count(account === undefined ? 'refused' : 'accepted');
      const until = Math.min(exp, clock.now() + (account === undefined ? REFUSED_MS : ACCEPTED_MS));
      const verdict = { account, until };
      remember(verdicts, digest, verdict);
      return verdict;
    } catch (err) {
      count('failed');
      options.logger.warn({ err }, 'a ServiceAccount token could not be reviewed');
      throw cannotAsk(err);
    } finally {
      underway.delete(digest);
    }
  };

  return {
    identify: (token) => {
      const exp = expiryOf(token, clock.now());
      const digest = hash('sha256', token, 'base64url');
      const known = verdicts.get(digest);
      if (known !== undefined && known.until > clock.now()) return accepted(known);
      let asked = underway.get(digest);
      if (asked === undefined) {
        asked = ask(token, digest, exp);
        underway.set(digest, asked);
      }
      return asked.then(accepted);
    },
  };
}

function accepted({ account }: Verdict): ServiceAccount {
  if (account === undefined) throw refuse('is not that of a ServiceAccount of this cluster, or is meant for others');
  return account;
}

function accountOf(reviewed: Reviewed | undefined): ServiceAccount | undefined {
  const [, namespace, name] = USERNAME.exec(reviewed?.username ?? '') ?? [];
  return namespace === undefined || name === undefined ? undefined : { namespace, name };
}

function remember(verdicts: Map<string, Verdict>, digest: string, verdict: Verdict): void {
  verdicts.delete(digest);
  // Oldest first: a Map keeps the order of insertion, and verdicts live about equally long.
  const oldest = verdicts.size >= TOKEN_CACHE_MAX ? verdicts.keys().next().value : undefined;
  if (oldest !== undefined) verdicts.delete(oldest);
  verdicts.set(digest, verdict);
}

/**
 * Reads what the token says of itself, to send the API server nothing that it must refuse. Nothing is believed on its word: only the API
 * server's signature check lets anybody in. Answers its end in Unix ms, Infinity when it has none.
 * @throws ProblemError 401
 */
function expiryOf(token: string, now: number): number {
  if (token.length > CREDENTIAL_MAX_CHARS) throw refuse('is too long');
  const claims = claimsOf(token);
  const { aud, exp } = claims;
  const meant: unknown[] = Array.isArray(aud) ? aud : [aud];
  if (!meant.includes(TOKEN_AUDIENCE)) throw refuse(`is not meant for audience ${TOKEN_AUDIENCE}`);
  if (exp === undefined) return Infinity;
  if (typeof exp !== 'number' || !Number.isFinite(exp)) throw refuse('has no readable end');
  if (exp * 1000 <= now) throw refuse('has expired');
  return exp * 1000;
}

function claimsOf(token: string): Record<string, unknown> {
  try {
    const claims: unknown = JSON.parse(Buffer.from(token.split('.', 2)[1] ?? '', 'base64url').toString());
    if (isObject(claims)) return claims;
  } catch (err) {
    throw refuse('is not a JWT', err);
  }
  throw refuse('is not a JWT');
}

/** Runs at most `max` at a time; beyond `waiting` more it refuses, so that a flood of invented tokens costs bounded memory and calls. */
function createSlots(max: number, waiting: number): <T>(work: () => Promise<T>) => Promise<T> {
  let running = 0;
  const queue: (() => void)[] = [];
  return async (work) => {
    if (running >= max) {
      if (queue.length >= waiting) throw new Error('too many tokens wait for their review');
      await new Promise<void>((resolve) => queue.push(resolve));
    } else running += 1;
    try {
      return await work();
    } finally {
      // The slot goes to the next one as it is.
      const next = queue.shift();
      if (next === undefined) running -= 1;
      else next();
    }
  };
}

/** Not a 401: the token may be a good one, and a client that is told otherwise would give up. */
function cannotAsk(cause: unknown): Error {
  return gatewayError('credential-unchecked', 'the API server cannot be asked about the token now', {
    cause,
    fix: 'try again in a moment',
    headers: { 'retry-after': '1' },
  });
}

function reviewCounter(registry: Registry): (outcome: 'accepted' | 'refused' | 'failed') => void {
  const reviews = counter(
    registry,
    'penstock_gateway_token_reviews_total',
    'ServiceAccount tokens that the API server was asked about, by its verdict; failed: it could not be asked.',
    ['outcome'],
    [{ outcome: 'accepted' }, { outcome: 'refused' }, { outcome: 'failed' }],
  );
  return (outcome) => reviews.inc({ outcome });
}
