// SPDX-License-Identifier: Apache-2.0
import type { ClientHttp2Session } from 'node:http2';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MAX_BODY_BYTES, MAX_JSON_CONTAINERS } from './limits.ts';
import { callHttp1, callHttp2, http2Session, podReview, startTestServer } from './testing.ts';
import type { TestAnswer, TestCall, TestServer } from './testing.ts';

const review = (change: Readonly<Record<string, unknown>> = {}): string => JSON.stringify(podReview(change));
const whole = (change: Readonly<Record<string, unknown>>): string => JSON.stringify({ ...podReview(), ...change });
const plain = { 'content-type': 'application/json' };
const asText = review();

/** What is sent → status, and the sentence that the API server shows of it. */
const CALLS: Readonly<Record<string, readonly [call: TestCall, status: number, message: RegExp]>> = {
  'GET to a path of ours': [{ method: 'GET' }, 405, /reviews come by POST/],
  'PUT to a path of ours': [{ method: 'PUT', body: asText }, 405, /reviews come by POST/],
  'DELETE to a path of ours': [{ method: 'DELETE' }, 405, /reviews come by POST/],
  'OPTIONS to a path of ours': [{ method: 'OPTIONS' }, 405, /reviews come by POST/],
  'an unknown path': [{ path: '/mutate/jobs', body: asText }, 404, /known here: \/mutate\/pods/],
  'the root': [{ path: '/', body: asText }, 404, /known here/],
  'a path with a slash at its end': [{ path: '/mutate/pods/', body: asText }, 404, /known here/],
  'a path with dots in it': [{ path: '/validate/../mutate/pods', body: asText }, 404, /known here/],
  'a path that is a member of every object': [{ path: '/__proto__', body: asText }, 404, /known here/],
  'no content type': [{ headers: {}, body: asText }, 415, /Content-Type must be application\/json/],
  'text as content type': [{ headers: { 'content-type': 'text/plain' }, body: asText }, 415, /Content-Type/],
  'YAML as content type': [{ headers: { 'content-type': 'application/yaml' }, body: asText }, 415, /Content-Type/],
  'protobuf as content type': [
    { headers: { 'content-type': 'application/vnd.kubernetes.protobuf' }, body: asText },
    415,
    /Content-Type/,
  ],
  'a content type that only begins like JSON': [
    { headers: { 'content-type': 'application/json-patch+json' }, body: asText },
    415,
    /Content-Type/,
  ],
  'a compressed body': [{ headers: { ...plain, 'content-encoding': 'gzip' }, body: asText }, 415, /Content-Encoding/],
  'no body': [{}, 400, /the body is empty/],
  'blanks only': [{ body: ' \n\t ' }, 400, /not JSON/],
  'text that is no JSON': [{ body: 'hello' }, 400, /not JSON/],
  'JSON that is cut off': [{ body: asText.slice(0, -1) }, 400, /not JSON/],
  'JSON with something after it': [{ body: `${asText}{}` }, 400, /not JSON/],
  'JSON with a comment': [{ body: `/* hi */${asText}` }, 400, /not JSON/],
  'a byte order mark': [{ body: `\ufeff${asText}` }, 400, /not JSON/],
  'a NUL in a string': [{ body: asText.replace('a-pod', 'a\u0000pod') }, 400, /not JSON/],
  'UTF-8 that is cut off': [
    { body: Buffer.concat([Buffer.from(asText), Buffer.from([0xe2, 0x82])]) },
    400,
    /not UTF-8/,
  ],
  'Latin-1': [{ body: Buffer.from(asText.replace('a-pod', 'caf\u00e9'), 'latin1') }, 400, /not UTF-8/],
  'UTF-16': [{ body: Buffer.from(asText, 'utf16le') }, 400, /not JSON/],
  'overlong UTF-8': [{ body: Buffer.from([0x22, 0xc0, 0xaf, 0x22]) }, 400, /not UTF-8/],
  'a body of protobuf': [{ body: Buffer.from([0x6b, 0x38, 0x73, 0x00, 0x0a, 0x10]) }, 400, /not JSON/],
  null: [{ body: 'null' }, 400, /must be a JSON object/],
  'an array': [{ body: `[${asText}]` }, 400, /must be a JSON object/],
  'a string': [{ body: '"AdmissionReview"' }, 400, /must be a JSON object/],
  'another kind': [{ body: whole({ kind: 'Pod' }) }, 400, /must be an AdmissionReview/],
  'another apiVersion': [{ body: whole({ apiVersion: 'v1' }) }, 400, /admission\.k8s\.io\/v1/],
  v1beta1: [{ body: whole({ apiVersion: 'admission.k8s.io/v1beta1' }) }, 400, /the only version/],
  'no kind': [{ body: whole({ kind: undefined }) }, 400, /must be an AdmissionReview/],
  'no request': [{ body: whole({ request: undefined }) }, 400, /request: must be an object/],
  'request null': [{ body: whole({ request: null }) }, 400, /request: must be an object/],
  'a request that is an array': [{ body: whole({ request: [] }) }, 400, /request: must be an object/],
  'a request by way of __proto__': [
    { body: `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","__proto__":${whole({})}}` },
    400,
    /request: must be an object/,
  ],
  'the last of two requests being none': [
    { body: `${asText.slice(0, -1)},"request":1}` },
    400,
    /request: must be an object/,
  ],
  'no uid': [{ body: review({ uid: undefined }) }, 400, /request\.uid/],
  'uid null': [{ body: review({ uid: null }) }, 400, /request\.uid/],
  'an empty uid': [{ body: review({ uid: '' }) }, 400, /request\.uid/],
  'a uid that is a number': [{ body: review({ uid: 7 }) }, 400, /request\.uid/],
  'a uid that is an object': [{ body: review({ uid: { toString: 'x' } }) }, 400, /request\.uid/],
  'a uid of a thousand characters': [{ body: review({ uid: 'x'.repeat(1000) }) }, 400, /request\.uid/],
  'a body one byte too large': [{ body: Buffer.alloc(MAX_BODY_BYTES + 1, 0x20) }, 413, /larger than 7340032 bytes/],
  'a body that is too large and does not say so': [
    { body: Buffer.alloc(MAX_BODY_BYTES + 100_000, 0x20), chunked: true },
    413,
    /larger than 7340032 bytes/,
  ],
  'seven million brackets': [{ body: '['.repeat(MAX_BODY_BYTES) }, 400, /deeper than 512 levels/],
  'a hundred thousand nested objects': [
    { body: `${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}` },
    400,
    /deeper than 512 levels/,
  ],
  'a quarter of a million empty arrays': [
    { body: `[${'[],'.repeat(MAX_JSON_CONTAINERS)}[]]` },
    400,
    /more than 250000 objects/,
  ],
};

/** What is wrong with a request whose uid is known → what is said of it. */
const REQUESTS: Readonly<Record<string, readonly [change: Readonly<Record<string, unknown>>, message: RegExp]>> = {
  'no operation': [{ operation: undefined }, /request\.operation/],
  'an operation that does not exist': [{ operation: 'create' }, /request\.operation/],
  'an operation that is a member of every object': [{ operation: 'constructor' }, /request\.operation/],
  'no kind': [{ kind: undefined }, /request\.kind/],
  'a kind that is a word': [{ kind: 'Pod' }, /request\.kind/],
  'a kind without a version': [{ kind: { group: '', kind: 'Pod' } }, /request\.kind/],
  'no resource': [{ resource: null }, /request\.resource/],
  'a resource with a number for its group': [
    { resource: { group: 1, version: 'v1', resource: 'pods' } },
    /request\.resource/,
  ],
  'a namespace that is an object': [{ namespace: {} }, /request\.namespace/],
  'a name that is a number': [{ name: 3 }, /request\.name/],
  'a subresource that is an array': [{ subResource: [] }, /request\.subResource/],
  'a dryRun that is a word': [{ dryRun: 'true' }, /request\.dryRun/],
  'a user that is a word': [{ userInfo: 'jane' }, /request\.userInfo/],
  'a username that is a number': [{ userInfo: { username: 1 } }, /request\.userInfo/],
  'groups that are no text': [{ userInfo: { username: 'jane', groups: [1] } }, /request\.userInfo/],
  'extra that is no lists of text': [{ userInfo: { username: 'jane', extra: { a: 'b' } } }, /request\.userInfo/],
  'no object': [{ object: undefined }, /request\.object: is required on CREATE/],
  'object null': [{ object: null }, /request\.object: is required on CREATE/],
  'an object that is an array': [{ object: [] }, /request\.object: must be an object/],
  'an object that is text': [{ object: '{}' }, /request\.object: must be an object/],
  'an update without an object': [{ operation: 'UPDATE', object: null }, /is required on UPDATE/],
  'an oldObject that is text': [{ oldObject: '{}' }, /request\.oldObject/],
};

/** What looks odd and is fine. */
const ALLOWED: Readonly<Record<string, TestCall>> = {
  'a deletion without oldObject': { body: review({ operation: 'DELETE', object: null, oldObject: null }) },
  'a CONNECT to a subresource': { body: review({ operation: 'CONNECT', subResource: 'exec', object: null }) },
  'an update of a pod, which nobody reviews': { body: review({ operation: 'UPDATE', oldObject: {} }) },
  'a body in chunks': { body: asText, chunked: true },
  'a content type with a charset': { headers: { 'content-type': 'application/json; charset=utf-8' }, body: asText },
  'a content type in capitals': { headers: { 'content-type': 'Application/JSON' }, body: asText },
  'a body of nearly the largest size': { body: review({ object: { spec: 'x'.repeat(MAX_BODY_BYTES - 2_000) } }) },
  'the last of two uids': { body: asText.replace('"uid":', '"uid":1,"uid":') },
  'members that nobody knows': { body: whole({ later: { version: 2 }, response: { allowed: false } }) },
  'prototype keys in the object': {
    body: asText.replace('"spec":', '"__proto__":{"allowed":false},"constructor":1,"spec":'),
  },
  'text of all planes': { body: review({ namespace: '\ud83d\ude80 \u4e16\u754c' }) },
  'lone surrogates': { body: asText.replace('a-pod', '\\ud800') },
  'an object without metadata': { body: review({ object: {} }) },
  'no user': { body: review({ userInfo: null }) },
  'a user of whom nothing is said': {
    body: review({ userInfo: { username: null, uid: null, groups: null, extra: null } }),
  },
  'a user with a key of extra without values': { body: review({ userInfo: { extra: { scopes: null } } }) },
  'no timeout': { path: '/mutate/pods', body: asText },
  'a timeout that is none': { path: '/mutate/pods?timeout=soon', body: asText },
  'a timeout that is not encoded well': { path: '/mutate/pods?timeout=%', body: asText },
  'a negative timeout': { path: '/mutate/pods?timeout=-1s', body: asText },
};

let server: TestServer;
let session: ClientHttp2Session;

beforeAll(async () => {
  server = await startTestServer();
  session = http2Session(server);
});
afterAll(async () => {
  session.close();
  await server.stop();
});

const protocols: Readonly<Record<string, (call: TestCall) => Promise<TestAnswer>>> = {
  'HTTP/1.1': (call) => callHttp1(server, call),
  'HTTP/2': (call) => callHttp2(session, call),
};

describe.each(Object.entries(protocols))('over %s', (_name, send) => {
  it.each(Object.entries(CALLS))('%s is answered with its status', async (_what, [call, status, message]) => {
    const answer = await send(call);
    expect(answer.status).toBe(status);
    expect(answer.headers['content-type']).toBe('application/json');
    expect(answer.json).toMatchObject({ apiVersion: 'v1', kind: 'Status', status: 'Failure', code: status });
    expect((answer.json as { message: string }).message).toMatch(message);
  });

  it.each(Object.entries(REQUESTS))(
    '%s is refused in a review of our own objects',
    async (_what, [change, message]) => {
      const answer = await send({ path: '/validate/inferenceapps', body: review(change) });
      expect(answer.status).toBe(200);
      expect(answer.json).toMatchObject({
        apiVersion: 'admission.k8s.io/v1',
        kind: 'AdmissionReview',
        response: { uid: 'c0ffee', allowed: false, status: { code: 400, reason: 'BadRequest' } },
      });
      const { response } = answer.json as { response: { status: { message: string } } };
      expect(response.status.message).toMatch(message);
    },
  );

  it.each(Object.entries(REQUESTS))('%s lets a pod pass, with a warning', async (_what, [change, message]) => {
    const answer = await send({ body: review(change) });
    expect(answer.status).toBe(200);
    const { response } = answer.json as { response: { warnings: string[] } };
    expect(response).toEqual({ uid: 'c0ffee', allowed: true, warnings: [expect.stringMatching(message)] });
    expect(response.warnings[0]).toMatch(/^penstock: passed without being looked at: /);
  });

  it.each(Object.entries(ALLOWED))('%s is allowed', async (_what, call) => {
    const answer = await send(call);
    expect(answer).toMatchObject({ status: 200, json: { response: { uid: 'c0ffee', allowed: true } } });
  });

  it('says by which method it wants to be called', async () => {
    expect((await send({ method: 'GET' })).headers['allow']).toBe('POST');
  });
});

it('has nothing under way after all of it', () => {
  expect(server.server.load().reviews).toBe(0);
});
