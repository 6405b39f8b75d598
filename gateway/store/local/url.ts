// SPDX-License-Identifier: Apache-2.0
import { createHmac, timingSafeEqual } from 'node:crypto';
import { storeError } from '../errors.ts';
import { checkKey } from '../keys.ts';

/** Version of the canonical string; another one is refused, never guessed. */
const URL_VERSION = '1';
/** HMAC-SHA256 wants a key as long as its output (RFC 2104 §3). */
const SIGNING_KEY_MIN_BYTES = 32;
const NUMBER = /^(?:0|[1-9][0-9]{0,11})$/;

export type UrlVerb = 'GET' | 'PUT';

export interface UrlGrant {
  readonly verb: UrlVerb;
  readonly key: string;
  /** Unix seconds. */
  readonly expires: number;
  /** What a PUT must send as Content-Type; empty for GET. */
  readonly contentType: string;
  /** What a PUT must send as Content-Length; 0 for GET. */
  readonly bytes: number;
}

/** Signs and checks URLs. The signature covers verb, key, expiry, content type, size and version; who holds the URL may do just that. */
export interface UrlSigner {
  /** `<key>?v=…&expires=…[&type=…&bytes=…]&sig=…`, relative to the base URL. */
  sign(grant: UrlGrant): string;
  /** @throws StoreError `forbidden`; one sentence for whatever is wrong with the signature, another for an expired URL */
  verify(verb: UrlVerb, path: string, query: string, now: number): UrlGrant;
}

export function createUrlSigner(signingKey: Uint8Array): UrlSigner {
  if (signingKey.length < SIGNING_KEY_MIN_BYTES) {
    throw new RangeError(`the key that signs object URLs needs at least ${SIGNING_KEY_MIN_BYTES} bytes`);
  }
  const digest = (grant: UrlGrant): Buffer => createHmac('sha256', signingKey).update(canonical(grant)).digest();
  return {
    sign: (grant) => {
      const query = new URLSearchParams({ v: URL_VERSION, expires: String(grant.expires) });
      if (grant.verb === 'PUT') {
        query.set('type', grant.contentType);
        query.set('bytes', String(grant.bytes));
      }
      query.set('sig', digest(grant).toString('base64url'));
      return `${checkKey(grant.key)}?${query.toString()}`;
    },
    verify: (verb, path, query, now) => {
      const { grant, signature } = parse(verb, path, query);
      const wanted = digest(grant);
      if (signature.length !== wanted.length || !timingSafeEqual(signature, wanted)) throw refused();
      if (grant.expires * 1000 <= now) {
        throw storeError('forbidden', 'this URL has expired', { field: 'query.expires', fix: 'ask for a new URL' });
      }
      return grant;
    },
  };
}

/** A JSON array of strings: no value can run into its neighbour, whatever it contains. */
function canonical(grant: UrlGrant): string {
  return JSON.stringify([
    'penstock-object-url',
    URL_VERSION,
    grant.verb,
    grant.key,
    String(grant.expires),
    grant.contentType,
    String(grant.bytes),
  ]);
}

function parse(verb: UrlVerb, path: string, query: string): { grant: UrlGrant; signature: Buffer } {
  const params = new Map(new URLSearchParams(query));
  const wanted = verb === 'PUT' ? ['v', 'expires', 'type', 'bytes', 'sig'] : ['v', 'expires', 'sig'];
  const complete = wanted.every((name) => params.has(name)) && params.size === wanted.length;
  // A name given twice leaves the map smaller than the query is long.
  if (!complete || query.split('&').length !== wanted.length || params.get('v') !== URL_VERSION) throw refused();
  const expires = params.get('expires') ?? '';
  const bytes = params.get('bytes') ?? '0';
  const sig = params.get('sig') ?? '';
  const signature = Buffer.from(sig, 'base64url');
  // One spelling only: a signature or a number that merely decodes to the right value is not the one we wrote.
  if (!NUMBER.test(expires) || !NUMBER.test(bytes) || signature.toString('base64url') !== sig) throw refused();
  const contentType = params.get('type') ?? '';
  return { grant: { verb, key: path, expires: Number(expires), contentType, bytes: Number(bytes) }, signature };
}

function refused(): Error {
  return storeError('forbidden', 'this URL is not one that was signed here for this method', {
    field: 'url',
    fix: 'use the URL unchanged, with the method it was made for',
  });
}
