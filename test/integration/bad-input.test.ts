// SPDX-License-Identifier: Apache-2.0
import { createHmac, hash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { systemClock } from '#base/clock.ts';
import { createSigner, generateIssuerKey, publicJwks } from '#base/issuer.ts';
import {
  GATEWAY_ISSUER,
  INTERNAL_AUDIENCE,
  OPERATOR_ISSUER,
  SESSION_AUDIENCE,
  UNIT_AUDIENCE,
} from '#base/wire/claims.ts';
import type { WireLease } from '#base/wire/broker.ts';
import { parseTenants } from '#gateway/auth/tenants.ts';
import { post, status, submit } from './gateway.client.ts';
import { makeFleet, startStack, testApp, unitToken } from './gateway.harness.ts';
import type { Fleet, Stack, TestUnit } from './gateway.harness.ts';

interface Case {
  readonly name: string;
  readonly line?: string;
  readonly headers?: readonly string[];
  readonly body?: string;
  readonly base64?: string;
  readonly gzip?: string;
  readonly deflate?: string;
  readonly zstd?: string;
  readonly json?: unknown;
  readonly raw?: string;
  readonly slow?: boolean;
  readonly anonymous?: boolean;
  readonly expect: { readonly status: number; readonly code: string; readonly field?: string };
}

const corpus = (name: string): readonly Case[] =>
  parse(readFileSync(join(import.meta.dirname, '../corpus/http', `${name}.yaml`), 'utf8')) as Case[];
const CLIENT_CASES = corpus('client');
const INTERNAL_CASES = corpus('internal');

const KEY = 'the-key-of-the-corpus';
const OPERATORS_KEY = 'the-key-of-an-operator';
const ADMINS_KEY = 'the-key-of-an-admin';
const STRANGERS_KEY = 'the-key-of-a-stranger';

const apiKey = (key: string, role: 'client' | 'operator' | 'admin') => ({ sha256: hash('sha256', key), role });
const TENANTS = parseTenants({
  tenants: [
    {
      name: 'corpus',
      priorityCeiling: 10,
      apiKeys: [apiKey(KEY, 'client'), apiKey(OPERATORS_KEY, 'operator'), apiKey(ADMINS_KEY, 'admin')],
    },
    { name: 'stranger', apiKeys: [apiKey(STRANGERS_KEY, 'admin')] },
  ],
});

let stack: Stack;
let worker: TestUnit;
let busy: WireLease;
/** Accepted before the first case; answered after the last one. */
let ticket: string;
let values: Readonly<Record<string, string>>;

beforeAll(async () => {
  const fleet = await makeFleet();
  const app = { namespace: 'corpus', maxBytes: 100_000 };
  stack = await startStack({
    fleet,
    tenants: TENANTS,
    apps: [
      testApp(app),
      testApp({ ...app, name: 'other', uid: 'uid-other' }),
      testApp({ ...app, name: 'draining', uid: 'uid-draining', desiredState: 'Draining' }),
      testApp({ ...app, name: 'deleting', uid: 'uid-deleting', deleting: true }),
      testApp({ ...app, namespace: 'stranger', uid: 'uid-strange' }),
      testApp({ ...app, name: 'checked', uid: 'uid-checked', schema: { type: 'object', required: ['text'] } }),
      testApp({ ...app, name: 'misconfigured', uid: 'uid-wrong', schema: { tpye: 'object' } }),
    ],
    // The lease that is held from the first case must outlast the last one on any machine.
    gateway: { leaseSeconds: 600, timeouts: { headersMs: 1_000, requestMs: 2_000, checkMs: 200 } },
  });
  await submit(stack, 'held by a busy unit', { 'x-api-key': KEY });
  worker = await stack.unit('echo-busy');
  busy = await worker.one();
  ticket = await submit(stack, 'accepted before', { 'x-api-key': KEY, 'idempotency-key': 'used' });
  values = await valuesOf(fleet);
});

afterAll(async () => {
  await stack.close();
});

async function valuesOf(fleet: Fleet): Promise<Record<string, string>> {
  const { operator } = stack;
  const unitClaims = { iss: OPERATOR_ISSUER, aud: UNIT_AUDIENCE, sub: 'echo-1', app_uid: 'uid-echo', revision: 'rev1' };
  const foreign = await generateIssuerKey();
  const foreignSigner = await createSigner(foreign, systemClock);
  const stolenKid = await createSigner({ ...foreign, kid: fleet.operatorKey.kid }, systemClock);
  const late = await createSigner(fleet.operatorKey, { ...systemClock, now: () => Date.now() - 10 * 86_400_000 });
  const unit = await unitToken(operator, 'echo-1');
  const [head = '', claims = '', signature = ''] = unit.split('.');
  const b64 = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const [publicKey] = publicJwks([fleet.operatorKey]).keys;
  const hmacInput = `${b64({ alg: 'HS256', kid: fleet.operatorKey.kid })}.${claims}`;
  const retired = await stack.unit('echo-retired');
  await stack.queue.retire('uid-echo', 'echo-retired');
  const bend = (text: string): string => `${text.slice(0, -2)}${text.endsWith('AA') ? 'BB' : 'AA'}`;
  return {
    key: KEY,
    keyDigest: hash('sha256', KEY),
    strangersKey: STRANGERS_KEY,
    operatorsKey: OPERATORS_KEY,
    adminsKey: ADMINS_KEY,
    usedKey: 'used',
    ticket,
    forgedTicket: bend(ticket),
    requestId: busy.id,
    session: worker.token,
    sessionBent: bend(worker.token),
    sessionForged: await foreignSigner.sign(
      { ...unitClaims, iss: GATEWAY_ISSUER, aud: SESSION_AUDIENCE, jti: 'x' },
      600,
    ),
    sessionRetired: retired.token,
    unit,
    unitRetired: await unitToken(operator, 'echo-retired'),
    unitExpired: await late.sign(unitClaims, 3600),
    unitForeignKey: await foreignSigner.sign(unitClaims, 3600),
    unitStolenKid: await stolenKid.sign(unitClaims, 3600),
    unitTampered: `${head}.${b64({ ...unitClaims, app_uid: 'uid-other', exp: 9_999_999_999 })}.${signature}`,
    unitAlgNone: `${b64({ alg: 'none', kid: fleet.operatorKey.kid })}.${claims}.`,
    unitHmac: `${hmacInput}.${createHmac('sha256', JSON.stringify(publicKey)).update(hmacInput).digest('base64url')}`,
    unitOtherIssuer: await operator.sign({ ...unitClaims, iss: 'someone' }, 3600),
    unitWithoutApp: await operator.sign(
      { iss: OPERATOR_ISSUER, aud: UNIT_AUDIENCE, sub: 'echo-1', revision: 'r' },
      3600,
    ),
    unitPathApp: await operator.sign({ ...unitClaims, app_uid: '../x' }, 3600),
    operator: await stack.operatorToken(),
    operatorOtherSubject: await operator.sign({ iss: OPERATOR_ISSUER, aud: INTERNAL_AUDIENCE, sub: 'friend' }, 600),
  };
}

/** `{{name}}` and `{{x*100}}`. */
function fill(text: string): string {
  return text.replaceAll(/\{\{(?:(.)\*(\d+)|(\w+))\}\}/g, (_all, char?: string, times?: string, name?: string) => {
    if (char !== undefined) return char.repeat(Number(times));
    const value = values[name ?? ''];
    if (value === undefined) throw new Error(`the corpus names ${name ?? ''}, which the test does not know`);
    return value;
  });
}

function bytesOf(c: Case, port: 'client' | 'internal'): Buffer {
  if (c.raw !== undefined) return Buffer.from(fill(c.raw.replaceAll('\n', '\r\n')), 'latin1');
  const body = bodyOf(c);
  const headers = [...(c.headers ?? [])];
  const has = (name: string): boolean => headers.some((line) => line.toLowerCase().startsWith(`${name}:`));
  if (port === 'client' && c.anonymous !== true && !has('authorization')) headers.push('Authorization: Bearer {{key}}');
  if (body.length > 0 && !has('content-length')) headers.push(`Content-Length: ${body.length}`);
  const lines = [`${c.line ?? ''} HTTP/1.1`, 'Host: penstock.example', 'Connection: close', ...headers];
  return Buffer.concat([Buffer.from(fill(`${lines.join('\r\n')}\r\n\r\n`)), body]);
}

function bodyOf(c: Case): Buffer {
  if (c.base64 !== undefined) return Buffer.from(fill(c.base64), 'base64');
  if (c.gzip !== undefined) return gzipSync(fill(c.gzip));
  if (c.deflate !== undefined) return deflateSync(fill(c.deflate));
  if (c.zstd !== undefined) return zstdCompressSync(fill(c.zstd));
  if (c.json !== undefined) return Buffer.from(fill(JSON.stringify(c.json)));
  return Buffer.from(fill(c.body ?? ''));
}

interface RawAnswer {
  readonly status: number;
  readonly headers: string;
  readonly body: string;
}

/** One answer over a socket of our own; what a client library would mend or refuse goes out as it is. */
function send(port: number, bytes: Buffer): Promise<RawAnswer> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    let seen: Buffer = Buffer.alloc(0);
    const look = (): void => {
      const answer = readAnswer(seen);
      if (answer === undefined) return;
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(20_000, () => socket.destroy(new Error('no answer within 20 s')));
    socket.on('data', (chunk: Buffer) => {
      seen = Buffer.concat([seen, chunk]);
      look();
    });
    // A reset after the answer is the server's good right; without an answer it is a failure.
    socket.on('error', (err) => reject(new Error(`after ${JSON.stringify(seen.toString('latin1'))}`, { cause: err })));
    socket.on('close', () => reject(new Error(`closed after ${JSON.stringify(seen.toString('latin1'))}`)));
    socket.write(bytes);
  });
}

function readAnswer(seen: Buffer): RawAnswer | undefined {
  const end = seen.indexOf('\r\n\r\n');
  if (end < 0) return undefined;
  const headers = seen.subarray(0, end).toString('latin1');
  const length = Number(/content-length: (\d+)/i.exec(headers)?.[1] ?? 0);
  const body = seen.subarray(end + 4);
  if (body.length < length) return undefined;
  return { status: Number(headers.slice(9, 12)), headers, body: body.subarray(0, length).toString('utf8') };
}

/** What a client learns from the answer to a case, and whether the server serves on. */
async function ask(c: Case, port: 'client' | 'internal'): Promise<Record<string, unknown>> {
  const url = new URL(port === 'client' ? stack.url : stack.internal);
  const { status, headers, body } = await send(Number(url.port), bytesOf(c, port));
  const { type, field, fix, title, detail, status: stated } = JSON.parse(body) as Record<string, unknown>;
  const header = (name: string): string | undefined => new RegExp(`\\r\\n${name}: (.*)`, 'i').exec(headers)?.[1];
  const alive = await fetch(`${stack.url}/version`);
  return {
    status,
    stated,
    contentType: header('content-type'),
    type,
    field,
    fix,
    title,
    detail,
    allow: header('allow'),
    challenge: header('www-authenticate'),
    alive: alive.status,
  };
}

const TEXT: unknown = expect.any(String);
const BEARER: unknown = expect.stringMatching(/^Bearer/);

function wanted({ expect: { status, code, field } }: Case): Record<string, unknown> {
  return {
    status,
    stated: status,
    contentType: 'application/problem+json',
    type: `urn:penstock:problem:${code}`,
    field: field ?? TEXT,
    fix: TEXT,
    title: TEXT,
    detail: TEXT,
    allow: status === 405 ? TEXT : undefined,
    challenge: status === 401 ? BEARER : undefined,
    alive: 200,
  };
}

describe('on the client port', () => {
  test.each(CLIENT_CASES)('$name is $expect.status $expect.code', async (c) => {
    expect(await ask(c, 'client')).toEqual(wanted(c));
  });
});

describe('on the internal port', () => {
  test.each(INTERNAL_CASES)('$name is $expect.status $expect.code', async (c) => {
    expect(await ask(c, 'internal')).toEqual(wanted(c));
  });
});

test('the corpus has at least 60 cases with a name of their own', () => {
  const names = [
    ...CLIENT_CASES.map(({ name }) => `client ${name}`),
    ...INTERNAL_CASES.map(({ name }) => `internal ${name}`),
  ];
  expect(new Set(names).size).toBe(names.length);
  expect(names.length).toBeGreaterThanOrEqual(60);
});

test('after all of them nothing was stored that should not be, and what was accepted before is answered', async () => {
  const demand = await stack.queue.demand('uid-echo');
  expect([demand.queued, demand.leased]).toEqual([1, 1]);
  expect((await stack.store.list('v1/')).objects).toEqual([]);
  expect(await worker.complete(busy, 'done')).toBe('committed');
  const lease = await worker.one();
  expect(await worker.complete(lease, 'after all')).toBe('committed');
  const done = await status(stack, ticket, { 'x-api-key': KEY });
  expect([done.status, await done.text()]).toEqual([200, 'after all']);
  expect((await post(`${stack.url}/v1/echo/infer`, 'and on', { 'x-api-key': KEY })).status).toBe(202);
});
