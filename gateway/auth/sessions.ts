// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '#base/clock.ts';
import { createSigner, publicJwks } from '#base/issuer.ts';
import type { Jwks, PrivateJwk } from '#base/issuer.ts';
import type { Random } from '#base/random.ts';
import { uuid7 } from '#base/uuid7.ts';
import {
  GATEWAY_ISSUER,
  INTERNAL_AUDIENCE,
  OPERATOR_ISSUER,
  OPERATOR_SUBJECT,
  SESSION_AUDIENCE,
  SESSION_TOKEN_SECONDS,
  UNIT_AUDIENCE,
} from '#base/wire/claims.ts';
import type { SessionClaims } from '#base/wire/claims.ts';
import { APP_UID_PATTERN, UNIT_PATTERN } from '#base/wire/demand.schema.ts';
import { SESSION_CACHE_MAX } from '../limits.ts';
import { createJwtVerifier, refuse } from './jwt.ts';

/** Who calls the broker: only ever from claims, never from a body. */
export interface UnitIdentity {
  readonly appUid: string;
  readonly unit: string;
  readonly revision: string;
  /** Of its session; absent where the unit token itself was shown. */
  readonly jti?: string;
}

export interface MintedSession {
  readonly token: string;
  /** By which it can be revoked. */
  readonly jti: string;
  /** Unix ms. */
  readonly expiresAt: number;
}

/** Tokens of the internal port. */
export interface Sessions {
  /** Checks a unit token of the operator. @throws ProblemError 401 */
  verifyUnit(token: string): Promise<UnitIdentity>;
  mint(unit: UnitIdentity): Promise<MintedSession>;
  /** Checks a session token; the signature only the first time a token is seen. @throws ProblemError 401 */
  verifySession(token: string): UnitIdentity | Promise<UnitIdentity>;
  /** Checks a token of the operator for itself. @throws ProblemError 401 */
  verifyOperator(token: string): Promise<void>;
}

export interface SessionsOptions {
  readonly sessionKeys: readonly [PrivateJwk, ...PrivateJwk[]];
  readonly operatorJwks: () => Jwks;
  readonly clock: Clock;
  readonly random: Random;
}

const UID = new RegExp(APP_UID_PATTERN);
const UNIT = new RegExp(UNIT_PATTERN);
const REVISION = /^[A-Za-z0-9._-]{1,64}$/;

export async function createSessions({ sessionKeys, operatorJwks, clock, random }: SessionsOptions): Promise<Sessions> {
  const signer = await createSigner(sessionKeys[0], clock);
  const own = publicJwks(sessionKeys);
  const verifySessionToken = createJwtVerifier({
    jwks: () => own,
    issuer: GATEWAY_ISSUER,
    audience: SESSION_AUDIENCE,
    clock,
  });
  const operator = { jwks: operatorJwks, issuer: OPERATOR_ISSUER, clock };
  const verifyUnitToken = createJwtVerifier({ ...operator, audience: UNIT_AUDIENCE });
  const verifyOperatorToken = createJwtVerifier({ ...operator, audience: INTERNAL_AUDIENCE });
  const seen = new Map<string, { readonly unit: UnitIdentity; readonly expiresAt: number }>();

  const checkSession = async (token: string): Promise<UnitIdentity> => {
    const claims = await verifySessionToken(token);
    const { jti } = claims;
    if (typeof jti !== 'string') throw refuse('lacks the claim jti');
    const unit = { ...identity(claims), jti };
    // Oldest first: a Map keeps the order of insertion, and tokens live equally long.
    const oldest = seen.size >= SESSION_CACHE_MAX ? seen.keys().next().value : undefined;
    if (oldest !== undefined) seen.delete(oldest);
    seen.set(token, { unit, expiresAt: claims.exp * 1000 });
    return unit;
  };

  return {
    verifyUnit: async (token) => identity(await verifyUnitToken(token)),
    mint: async ({ appUid, unit, revision }) => {
      const expiresAt = (Math.floor(clock.now() / 1000) + SESSION_TOKEN_SECONDS) * 1000;
      const jti = uuid7(clock, random);
      const claims: Omit<SessionClaims, 'exp'> = {
        iss: GATEWAY_ISSUER,
        aud: SESSION_AUDIENCE,
        sub: unit,
        app_uid: appUid,
        revision,
        jti,
      };
      return { token: await signer.sign({ ...claims }, SESSION_TOKEN_SECONDS), jti, expiresAt };
    },
    verifySession: (token) => {
      const known = seen.get(token);
      if (known !== undefined && known.expiresAt > clock.now()) return known.unit;
      if (known !== undefined) seen.delete(token);
      return checkSession(token);
    },
    verifyOperator: async (token) => {
      const { sub } = await verifyOperatorToken(token);
      if (sub !== OPERATOR_SUBJECT) throw refuse('is not the operator’s');
    },
  };
}

function identity(claims: { readonly sub: string; readonly [claim: string]: unknown }): UnitIdentity {
  const { sub, app_uid: appUid, revision } = claims;
  if (typeof appUid !== 'string' || !UID.test(appUid)) throw refuse('lacks the claim app_uid');
  if (typeof revision !== 'string' || !REVISION.test(revision)) throw refuse('lacks the claim revision');
  if (!UNIT.test(sub)) throw refuse('names no unit');
  return { appUid, unit: sub, revision };
}
