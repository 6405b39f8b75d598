// SPDX-License-Identifier: Apache-2.0
import { decodeProtectedHeader, importJWK, jwtVerify } from 'jose';
import type { JWK, JWTPayload } from 'jose';
import type { Clock } from '#base/clock.ts';
import type { Jwks } from '#base/issuer.ts';
import { gatewayError } from '../errors.ts';
import { CLOCK_TOLERANCE_SECONDS } from '../limits.ts';

export interface JwtVerifierOptions {
  /** Read at each use: the operator may rotate. */
  readonly jwks: () => Jwks;
  readonly issuer: string;
  readonly audience: string;
  readonly clock: Clock;
}

export type JwtVerifier = (token: string) => Promise<JWTPayload & { readonly sub: string; readonly exp: number }>;

type ImportedKey = Awaited<ReturnType<typeof importJWK>>;

/** Keys that were imported once: two per issuer while rotating, with room for a few rotations. */
const IMPORTED_MAX = 16;

/**
 * Checks EdDSA tokens of one issuer for one audience: signature by the key that `kid` names, iss, aud, exp, sub.
 * @throws ProblemError 503 while no key is known, 401 from the verifier; its sentence says which check failed, never what would pass
 */
export function createJwtVerifier({ jwks, issuer, audience, clock }: JwtVerifierOptions): JwtVerifier {
  const imported = new Map<string, ImportedKey>();

  const keyFor = async (token: string): Promise<ImportedKey> => {
    const { kid, alg } = readHeader(token);
    if (alg !== 'EdDSA') throw refuse('is not signed with EdDSA');
    const { keys } = jwks();
    // A gateway that has just started has not heard of its operator's keys: a 401 now would send every unit away for good.
    if (keys.length === 0) throw keysUnknown(issuer);
    const jwk = keys.find((key) => key.kid === kid && key.kty === 'OKP' && key.crv === 'Ed25519');
    if (kid === undefined || jwk === undefined) throw refuse('names no key of its issuer');
    // Keyed by the public value too: a kid that comes back with another key must not meet the old one.
    return await importOnce(imported, `${kid} ${jwk.x ?? ''}`, jwk);
  };

  return async (token) => {
    const key = await keyFor(token);
    let payload: JWTPayload;
    try {
      ({ payload } = await jwtVerify(token, key, {
        algorithms: ['EdDSA'],
        issuer,
        audience,
        requiredClaims: ['exp', 'sub'],
        clockTolerance: CLOCK_TOLERANCE_SECONDS,
        currentDate: new Date(clock.now()),
      }));
    } catch (err) {
      throw refuse(reason(err), err);
    }
    const { sub, exp } = payload;
    if (sub === undefined || sub === '' || exp === undefined) throw refuse('has no subject');
    return { ...payload, sub, exp };
  };
}

async function importOnce(imported: Map<string, ImportedKey>, name: string, jwk: JWK): Promise<ImportedKey> {
  const known = imported.get(name);
  if (known !== undefined) return known;
  if (imported.size >= IMPORTED_MAX) imported.clear();
  const key = await importJWK(jwk, 'EdDSA');
  imported.set(name, key);
  return key;
}

function readHeader(token: string): { readonly kid?: string | undefined; readonly alg?: string | undefined } {
  try {
    return decodeProtectedHeader(token);
  } catch (err) {
    throw refuse('is not a JWT', err);
  }
}

function reason(err: unknown): string {
  const code = err instanceof Error && 'code' in err ? err.code : undefined;
  if (code === 'ERR_JWT_EXPIRED') return 'has expired';
  if (code === 'ERR_JWT_CLAIM_VALIDATION_FAILED') return 'is for another issuer or audience, or lacks a claim';
  if (code === 'ERR_JWS_SIGNATURE_VERIFICATION_FAILED') return 'has a wrong signature';
  return 'cannot be verified';
}

function keysUnknown(issuer: string): Error {
  return gatewayError('not-ready', `the public keys of ${issuer} are not known here yet`, {
    fix: 'try again in a moment',
    headers: { 'retry-after': '1' },
  });
}

/** 401 with a sentence about the token. */
export function refuse(what: string, cause?: unknown): Error {
  return gatewayError('unauthenticated', `the token ${what}`, {
    field: 'header:Authorization',
    fix: 'send a current token of the right kind as Authorization: Bearer <token>',
    headers: { 'www-authenticate': 'Bearer error="invalid_token"' },
    cause,
  });
}
