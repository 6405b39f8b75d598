// SPDX-License-Identifier: Apache-2.0
import type { IncomingMessage } from 'node:http';
import { gatewayError } from '../errors.ts';
import { CREDENTIAL_MAX_CHARS } from '../limits.ts';
import type { Tenant, TenantSource } from './tenants.ts';

/** `Authorization: Bearer <credential>`, or undefined when there is none. */
export function bearerOf(req: IncomingMessage): string | undefined {
  const header = req.headers.authorization;
  if (header === undefined) return undefined;
  const match = /^Bearer +([A-Za-z0-9._~+/=-]+) *$/i.exec(header);
  if (match?.[1] === undefined || match[1].length > CREDENTIAL_MAX_CHARS) {
    throw gatewayError('unauthenticated', 'the Authorization header holds no bearer credential', {
      field: 'header:Authorization',
      fix: 'send Authorization: Bearer <credential>',
      headers: { 'www-authenticate': 'Bearer error="invalid_request"' },
    });
  }
  return match[1];
}

/** Header, payload and signature: what a JWT looks like, and no API key of ours does. */
const JWT = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/;

/**
 * Who calls, by `Authorization: Bearer` or `X-API-Key`: at once for an API key, later for a token that somebody else must confirm.
 * @throws ProblemError 400 for two that differ; 401; 403 and 503 for a token (as a rejection, where it takes a while)
 */
export function authenticate(req: IncomingMessage, tenants: TenantSource): Tenant | Promise<Tenant> {
  const header = req.headers['x-api-key'];
  const bearer = bearerOf(req);
  // Two callers in one request: whichever were taken, a proxy or a log might take the other.
  if (bearer !== undefined && header !== undefined && bearer !== header) throw twoCredentials();
  const key = bearer ?? (typeof header === 'string' ? header : undefined);
  if (key === undefined) return withoutCredential(tenants);
  if (bearer !== undefined && tenants.byToken !== undefined && JWT.test(bearer)) return tenants.byToken(bearer);
  const field = bearer === undefined ? 'header:X-API-Key' : 'header:Authorization';
  const found = key.length > CREDENTIAL_MAX_CHARS ? undefined : tenants.byApiKey(key);
  if (found === 'expired') throw refused('the API key has expired', field, 'use the key that replaces it');
  const tenant = found ?? tenants.anonymous();
  if (tenant !== undefined) return tenant;
  throw refused('the API key is not known', field, 'send a key whose SHA-256 is in tenants.yaml');
}

function withoutCredential(tenants: TenantSource): Tenant {
  const anonymous = tenants.anonymous();
  if (anonymous !== undefined) return anonymous;
  const wanted = tenants.byToken === undefined ? 'an API key' : 'an API key or a ServiceAccount token';
  throw gatewayError('unauthenticated', `this gateway wants ${wanted}`, {
    field: 'header:Authorization',
    fix: `send Authorization: Bearer <${wanted.slice(3)}> or X-API-Key`,
    headers: { 'www-authenticate': 'Bearer' },
  });
}

function twoCredentials(): Error {
  return gatewayError('bad-header', 'Authorization and X-API-Key hold two different credentials', {
    field: 'header:X-API-Key',
    fix: 'send one of the two headers only',
  });
}

function refused(what: string, field: string, fix: string): Error {
  return gatewayError('unauthenticated', what, {
    field,
    fix,
    headers: { 'www-authenticate': 'Bearer error="invalid_token"' },
  });
}
