// SPDX-License-Identifier: Apache-2.0
/** Claims of the three kinds of token (DESIGN §4, credentials of a unit). All are EdDSA (Ed25519) JWTs with `kid`. */

/** Operator → unit, in a file; good for POST /internal/v1/token only. sub = unit. */
export interface UnitClaims {
  readonly iss: string;
  readonly aud: typeof UNIT_AUDIENCE;
  readonly sub: string;
  /** uid of the app. */
  readonly app_uid: string;
  readonly namespace: string;
  readonly app: string;
  readonly revision: string;
  readonly placement: string;
  readonly exp: number;
}

/** Gateway → unit, good for every other call. sub = unit. */
export interface SessionClaims {
  readonly iss: typeof GATEWAY_ISSUER;
  readonly aud: typeof SESSION_AUDIENCE;
  readonly sub: string;
  readonly app_uid: string;
  readonly revision: string;
  readonly jti: string;
  readonly exp: number;
}

/** Operator → gateway. */
export interface OperatorClaims {
  readonly iss: string;
  readonly aud: typeof INTERNAL_AUDIENCE;
  readonly sub: typeof OPERATOR_SUBJECT;
  readonly exp: number;
}

export const OPERATOR_ISSUER = 'penstock-operator';
export const GATEWAY_ISSUER = 'penstock-gateway';
export const UNIT_AUDIENCE = 'penstock-unit';
export const SESSION_AUDIENCE = 'penstock-session';
export const INTERNAL_AUDIENCE = 'penstock-internal';
export const OPERATOR_SUBJECT = 'operator';

/** A unit token lives at most this long (DESIGN §4). */
export const UNIT_TOKEN_SECONDS = 7 * 24 * 3600;
export const SESSION_TOKEN_SECONDS = 600;
/** The operator's own token to the gateway: short, minted per process and renewed at half its life. */
export const OPERATOR_TOKEN_SECONDS = 600;

/** Name of the ConfigMap with the operator's JWKS under key `jwks.json`, in the operator's namespace. */
export const ISSUER_CONFIGMAP = 'penstock-issuer';
export const ISSUER_KEY = 'jwks.json';
