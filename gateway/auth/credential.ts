// SPDX-License-Identifier: Apache-2.0
import type { IncomingMessage } from 'node:http';
import { gatewayError } from '../errors.ts';
import type { Tenant, TenantSource } from './tenants.ts';

/** Longest credential looked at: far above any key or token, far below what hashing would notice. */
const CREDENTIAL_MAX = 8192;

/** `Authorization: Bearer <credential>`, or undefined when there is none. */
export function bearerOf(req: IncomingMessage): string | undefined {
  const header = req.headers.authorization;
  if (header === undefined) return undefined;
  const match = /^Bearer +([A-Za-z0-9._~+/=-]+) *$/i.exec(header);
  if (match?.[1] === undefined || match[1].length > CREDENTIAL_MAX) {
    throw gatewayError('unauthenticated', 'the Authorization header holds no bearer credential', {
      field: 'header:Authorization',
      fix: 'send Authorization: Bearer <credential>',
      headers: { 'www-authenticate': 'Bearer error="invalid_request"' },
    });
  }
  return match[1];
}

/**
 * The tenant that a client's credential stands for: `Authorization: Bearer` or `X-API-Key`.
 * @throws ProblemError 401
 */
export function authenticate(req: IncomingMessage, tenants: TenantSource): Tenant {
  const header = req.headers['x-api-key'];
  const bearer = bearerOf(req);
  const key = bearer ?? (typeof header === 'string' ? header : undefined);
  if (key === undefined) {
    const anonymous = tenants.anonymous();
    if (anonymous !== undefined) return anonymous;
    throw gatewayError('unauthenticated', 'this gateway wants an API key', {
      field: 'header:Authorization',
      fix: 'send Authorization: Bearer <API key> or X-API-Key',
      headers: { 'www-authenticate': 'Bearer' },
    });
  }
  const tenant = key.length > CREDENTIAL_MAX ? undefined : (tenants.byApiKey(key) ?? tenants.anonymous());
  if (tenant !== undefined) return tenant;
  throw gatewayError('unauthenticated', 'the API key is not known', {
    field: bearer === undefined ? 'header:X-API-Key' : 'header:Authorization',
    fix: 'send a key whose SHA-256 is in tenants.yaml',
    headers: { 'www-authenticate': 'Bearer error="invalid_token"' },
  });
}
