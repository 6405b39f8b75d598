// SPDX-License-Identifier: Apache-2.0
import { isObject } from '#base/json.ts';
import type { Clock } from '#base/clock.ts';
import type { TokenAnswer } from '#base/wire/broker.ts';
import { SESSION_TOKEN_SECONDS } from '#base/wire/claims.ts';
import { BrokerUnavailable, TokenRefused } from '../errors.ts';
import { detailOf } from './transport.ts';
import type { BrokerTransport } from './transport.ts';

/** The session token, renewed before it ends. */
export interface Session {
  /** @throws TokenRefused | BrokerUnavailable */
  token(): Promise<string>;
  /** `stale` was answered with 401: a newer one, once for all who ask. */
  renew(stale: string): Promise<string>;
}

export interface SessionDeps {
  readonly transport: BrokerTransport;
  /** Reads the unit token's file: it may have been replaced. */
  readonly readUnitToken: () => Promise<string>;
  readonly clock: Clock;
}

const TOKEN_TIMEOUT_MS = 10_000;
/** Renewed when this share of its life has passed, in the background, so that no call waits for it. */
const RENEW_AT = 2 / 3;

interface Current {
  readonly token: string;
  readonly renewAt: number;
  readonly endsAt: number;
}

export function createSession({ transport, readUnitToken, clock }: SessionDeps): Session {
  let current: Current | undefined;
  let renewal: Promise<string> | undefined;

  const fetchToken = async (): Promise<string> => {
    const { status, body } = await transport.post('token', {
      token: await readUnitToken(),
      timeoutMs: TOKEN_TIMEOUT_MS,
    });
    if (status !== 200) throw new TokenRefused(`token: ${status} ${detailOf(body)}`);
    if (!isTokenAnswer(body)) throw new BrokerUnavailable('token', 'the answer holds no token');
    const life = lifeOf(body, clock);
    const at = clock.monotonic();
    current = { token: body.token, renewAt: at + life * RENEW_AT, endsAt: at + life };
    return body.token;
  };
  const renewOnce = (): Promise<string> => {
    renewal ??= fetchToken().finally(() => {
      renewal = undefined;
    });
    return renewal;
  };
  return {
    token: async () => {
      const at = clock.monotonic();
      if (current === undefined || at >= current.endsAt) return renewOnce();
      if (at >= current.renewAt) {
        const known = current.token;
        // A refusal or an outage is met again, and acted on, when the token really ends.
        void renewOnce().catch(() => known);
      }
      return current.token;
    },
    renew: async (stale) => {
      if (current !== undefined && current.token !== stale) return current.token;
      return renewOnce();
    },
  };
}

/** Remaining life in ms. The two clocks may differ: never more than a session lasts, and a dead-looking one is tried all the same. */
function lifeOf(answer: TokenAnswer, clock: Clock): number {
  const most = SESSION_TOKEN_SECONDS * 1000;
  const left = answer.expires_at - clock.now();
  return left > 0 ? Math.min(left, most) : most / 2;
}

function isTokenAnswer(body: unknown): body is TokenAnswer {
  return isObject(body) && typeof body['token'] === 'string' && typeof body['expires_at'] === 'number';
}
