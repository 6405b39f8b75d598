// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'yaml';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { systemClock } from '#base/clock.ts';
import { createLogger, silentLogger } from '#base/logger.ts';
import { createRegistry } from '#base/metrics.ts';
import { readTenants } from '#base/tenants.ts';
import type { TenantsDocument } from '#base/tenants.ts';
import { openAuditLog } from '#gateway/audit.ts';
import { watchTenantsFile } from '#gateway/auth/tenants-file.ts';
import { until } from '#test/until.ts';
import { post, problem, status, submit } from './gateway.client.ts';
import type { Headers } from './gateway.client.ts';
import { startStack, testApp } from './gateway.harness.ts';
import type { Stack } from './gateway.harness.ts';
import { testKey } from './tenants.harness.ts';

const PATIENCE = 20_000;
/** In a body and in a result: neither may stand in any log. */
const SECRET_BODY = 'the-secret-of-the-body';

let dir: string;
let closers: (() => Promise<void> | void)[];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'penstock-tenants-'));
  closers = [() => rmSync(dir, { recursive: true })];
});
afterEach(async () => {
  for (const close of closers.toReversed()) await close();
});

interface Guarded {
  readonly s: Stack;
  /** Replaces the document and waits until it is in force. */
  readonly edit: (document: TenantsDocument) => Promise<void>;
  /** Writes what cannot be in force, and waits until that is said. */
  readonly spoil: (text: string) => Promise<void>;
  readonly metric: (name: string) => Promise<number | undefined>;
  readonly audit: () => Record<string, unknown>[];
  /** All that the gateway has logged, access lines included. */
  readonly log: () => string;
}

/** A gateway with a tenants file and an audit log, as an administrator has it. */
async function guarded(first: TenantsDocument): Promise<Guarded> {
  const file = join(dir, 'tenants.yaml');
  const auditFile = join(dir, 'audit.log');
  writeFileSync(file, JSON.stringify(first));
  const registry = createRegistry('tenants', false);
  const audit = openAuditLog({ file: auditFile, clock: systemClock, logger: silentLogger });
  closers.push(() => audit.close());
  const lines: string[] = [];
  const logger = createLogger('gateway', 'debug', { write: (line) => void lines.push(line) });
  const tenants = watchTenantsFile({
    file,
    clock: systemClock,
    logger,
    registry,
    audit,
    requireKeys: false,
  });
  closers.push(() => tenants.close());
  const s = await startStack({
    tenants,
    audit,
    logger,
    apps: [testApp({ namespace: 'team', maxAttempts: 1 }), testApp({ namespace: 'other', uid: 'uid-other' })],
  });
  closers.push(() => s.close());
  return {
    s,
    log: () => lines.join(''),
    edit: async (document) => {
      const before = tenants.policies();
      writeFileSync(file, JSON.stringify(document));
      await until(() => tenants.policies() !== before, { what: 'the new document', timeoutMs: PATIENCE });
    },
    spoil: async (text) => {
      writeFileSync(file, text);
      await until(() => tenants.trouble(), { what: 'the refusal', timeoutMs: PATIENCE });
    },
    metric: async (name) => (await registry.getSingleMetric(name)?.get())?.values[0]?.value,
    audit: () =>
      readFileSync(auditFile, 'utf8')
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as Record<string, unknown>),
  };
}

const infer = (s: Stack, headers: Headers, body = 'x', app = 'echo'): Promise<Response> =>
  post(`${s.url}/v1/${app}/infer`, body, headers);

describe('the documents that are shipped', () => {
  const root = new URL('../../', import.meta.url);
  const text = (file: string): string => readFileSync(new URL(file, root), 'utf8');

  test('fit their schema: the sample, the local overlay and the one in the manual', () => {
    const sample = parse(text('config/samples/tenants.yaml')) as { data: { 'tenants.yaml': string } };
    const manual = /```yaml\n(tenants:[^`]*)```/.exec(text('docs/operations.md'))?.[1] ?? '';
    const shipped = [sample.data['tenants.yaml'], text('deploy/overlays/local/tenants.yaml')];
    const documents = [...shipped, manual.replace('a5c5…fbe6', 'a'.repeat(64))].map((one) => readTenants(one));
    expect(documents.map((document) => document?.tenants.map(({ name }) => name))).toEqual([
      ['search', 'platform'],
      ['default'],
      ['search'],
    ]);
  });
});

describe('the tenants document', () => {
  test('a key is replaced without a gap: both are good, then the old one is taken out or expires', async () => {
    const [old, fresh] = [testKey(), testKey()];
    const { s, edit } = await guarded({ tenants: [{ name: 'team', apiKeys: [old.entry] }] });
    expect((await infer(s, fresh.headers)).status).toBe(401);
    await edit({ tenants: [{ name: 'team', apiKeys: [old.entry, fresh.entry] }] });
    const ticket = await submit(s, 'by the old one', old.headers);
    // A ticket is the tenant's, not the key's.
    expect((await status(s, ticket, fresh.headers)).status).toBe(202);
    await edit({
      tenants: [{ name: 'team', apiKeys: [{ ...old.entry, expiresAt: '2026-01-01T00:00:00Z' }, fresh.entry] }],
    });
    const expired = await infer(s, old.headers);
    expect(((await expired.clone().json()) as { detail: string }).detail).toBe('the API key has expired');
    expect(await problem(expired)).toEqual([401, 'unauthenticated']);
    await edit({ tenants: [{ name: 'team', apiKeys: [fresh.entry] }] });
    expect((await infer(s, old.headers)).status).toBe(401);
    expect((await status(s, ticket, fresh.headers)).status).toBe(202);
  });

  test('a broken edit changes nothing, and metric, readiness and audit log say so until it is mended', async () => {
    const key = testKey();
    const document = { tenants: [{ name: 'team', apiKeys: [key.entry] }] };
    const { s, edit, spoil, metric, audit } = await guarded(document);
    expect([await metric('penstock_tenants_reload_failures_total'), s.gateway.readyNote()]).toEqual([
      0,
      expect.not.stringContaining('tenants'),
    ]);
    await spoil('tenants: [{name: team, weight: heavy}]');
    expect((await infer(s, key.headers)).status).toBe(202);
    expect((await infer(s, {})).status).toBe(401);
    expect(await metric('penstock_tenants_reload_failures_total')).toBe(1);
    expect(await metric('penstock_tenants_last_reload_success')).toBe(0);
    expect(s.gateway.notReady()).toBeUndefined();
    expect(s.gateway.readyNote()).toContain(
      'tenants file refused, the last good one stays in force: tenants: tenants[0].weight: must be integer; write an integer from 1 to 1000',
    );
    expect(audit().at(-1)).toMatchObject({ audit: true, action: 'tenants.reload', result: 'refused' });
    await edit({ ...document, default: { weight: 2 } });
    expect([await metric('penstock_tenants_last_reload_success'), s.gateway.readyNote()]).toEqual([
      1,
      expect.not.stringContaining('tenants'),
    ]);
  });

  test('apps that are allowed can be called by their full name, from then on', async () => {
    const key = testKey();
    const { s, edit } = await guarded({ tenants: [{ name: 'team', apiKeys: [key.entry] }] });
    expect(await problem(await infer(s, key.headers, 'x', 'other.echo'))).toEqual([404, 'app-unknown']);
    await edit({ tenants: [{ name: 'team', apps: ['other.echo'], apiKeys: [key.entry] }] });
    expect((await infer(s, key.headers, 'x', 'other.echo')).status).toBe(202);
    expect(await problem(await infer(s, key.headers))).toEqual([404, 'app-unknown']);
  });

  test('a lowered cap holds for what waits already', async () => {
    const key = testKey();
    const entry = { name: 'team', apiKeys: [key.entry] };
    const { s, edit } = await guarded({ tenants: [{ ...entry, maxInFlight: 3 }] });
    for (const body of ['1', '2', '3', '4', '5', '6']) await submit(s, body, key.headers);
    const unit = await s.unit('u');
    expect((await unit.lease(64)).leases).toHaveLength(3);
    await edit({ tenants: [{ ...entry, maxInFlight: 5 }] });
    let more = 0;
    await until(async () => (more += (await unit.lease(64)).leases.length) === 2, {
      what: 'the raised cap in the queue',
      timeoutMs: PATIENCE,
    });
    expect((await unit.lease(64)).leases).toHaveLength(0);
  });
});

describe('limits', () => {
  test('requests faster than allowed are 429 with how long to wait; another tenant does not notice', async () => {
    const [team, other] = [testKey(), testKey()];
    const requestRate = { perSecond: 0.001, burst: 2 };
    const { s } = await guarded({
      tenants: [
        { name: 'team', requestRate, apiKeys: [team.entry] },
        { name: 'other', apiKeys: [other.entry] },
      ],
    });
    const first = await infer(s, team.headers, 'a');
    const second = await infer(s, team.headers, 'a');
    const refused = await infer(s, team.headers, 'b');
    const fields = [first, second, refused].map(({ status: code, headers }) => [
      code,
      headers.get('ratelimit-policy'),
      headers.get('ratelimit'),
    ]);
    const policy = '"requests";q=2;w=2000';
    expect(fields).toEqual([
      [202, policy, '"requests";r=1;t=1000'],
      [202, policy, expect.stringMatching(/^"requests";r=0;t=(1000|9\d\d)$/)],
      [429, policy, expect.stringMatching(/^"requests";r=0;t=(1000|9\d\d)$/)],
    ]);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(900);
    expect(await refused.json()).toMatchObject({
      type: 'urn:penstock:problem:rate-limited',
      status: 429,
      'violated-policies': ['requests'],
    });
    // What it has submitted it may go on asking for.
    const { ticket } = (await first.json()) as { ticket: string };
    expect((await status(s, ticket, team.headers)).status).toBe(202);
    const free = await infer(s, other.headers);
    expect([free.status, free.headers.get('ratelimit')]).toEqual([202, null]);
    const metrics = await s.registry.metrics();
    expect(metrics).toMatch(/penstock_gateway_tenant_requests_total\{tenant="team",outcome="rate-limited"[^}]*\} 1\n/);
    expect(metrics).toMatch(/penstock_gateway_tenant_requests_total\{tenant="team",outcome="joined"[^}]*\} 1\n/);
    expect(metrics).toMatch(/penstock_gateway_tenant_requests_total\{tenant="other",outcome="rate-limited"[^}]*\} 0\n/);
  });

  test('a full queue is 429 for what would make it longer; repeats and other tenants go on', async () => {
    const [team, other] = [testKey(), testKey()];
    const { s } = await guarded({
      tenants: [
        { name: 'team', maxQueued: 10, appLimits: { echo: { maxQueued: 2 } }, apiKeys: [team.entry] },
        { name: 'other', apps: ['team.echo'], apiKeys: [other.entry] },
      ],
    });
    const first = await submit(s, '1', team.headers);
    await submit(s, '2', team.headers);
    const full = await infer(s, team.headers, '3');
    expect([
      full.headers.get('ratelimit-policy'),
      full.headers.get('ratelimit'),
      full.headers.get('retry-after'),
    ]).toEqual(['"queued";q=2;qu="concurrent-requests"', '"queued";r=0', '1']);
    expect(await problem(full)).toEqual([429, 'queue-full']);
    expect(await submit(s, '1', team.headers)).toBe(first);
    await submit(s, '3', other.headers, 'team.echo');
    const unit = await s.unit('u');
    expect((await unit.lease(64)).leases).toHaveLength(3);
    expect((await infer(s, team.headers, '3')).status).toBe(202);
  });

  test('a priority above the tenant’s ceiling is refused', async () => {
    const key = testKey();
    const { s } = await guarded({ tenants: [{ name: 'team', priorityCeiling: 5, apiKeys: [key.entry] }] });
    expect((await infer(s, { ...key.headers, 'penstock-priority': '5' })).status).toBe(202);
    const above = await infer(s, { ...key.headers, 'penstock-priority': '6' });
    expect(await problem(above)).toEqual([400, 'bad-header']);
  });
});

describe('the audit log', () => {
  test('has a line for each deed, by whom and from where, and neither credentials nor bodies', async () => {
    const [client, admin] = [testKey('client'), testKey('admin', { name: 'of the night shift' })];
    const { s, edit, audit, log } = await guarded({
      tenants: [{ name: 'team', apiKeys: [client.entry, admin.entry] }],
    });
    const unit = await s.unit('unit-1');

    const cancelled = await submit(s, SECRET_BODY, client.headers);
    const headers = { ...client.headers, 'x-request-id': 'the-cancel' };
    await fetch(`${s.url}/v1/echo/requests/${cancelled}`, { method: 'DELETE', headers });
    const failed = await submit(s, `${SECRET_BODY} 2`, client.headers);
    await unit.fail(await unit.one(), 'handler', 'out of memory');
    const letters = `${s.url}/v1/echo/dead-letters`;
    await fetch(`${letters}/${failed}/redrive`, { method: 'POST', headers: admin.headers });
    await unit.fail(await unit.one(), 'handler', 'again');
    await fetch(`${letters}?all=true`, { method: 'DELETE', headers: admin.headers });
    const operator = { authorization: `Bearer ${await s.operatorToken()}`, 'content-type': 'application/json' };
    const retired = await fetch(`${s.internal}/internal/v1/units/unit-1/retire`, {
      method: 'POST',
      headers: operator,
      body: JSON.stringify({ app: 'uid-echo' }),
    });
    expect(retired.status).toBe(200);
    await until(
      async () =>
        (await fetch(`${s.internal}/internal/v1/apps/uid-other`, { method: 'DELETE', headers: operator })).status ===
        204,
      { what: 'the purge', timeoutMs: PATIENCE },
    );
    await edit({ tenants: [{ name: 'team', weight: 4, apiKeys: [admin.entry] }] });

    // The other log says whose call each one was, too.
    expect(log()).toContain(`"tenant":"team","subject":"key ${client.prefix}"`);
    const lines = audit();
    const clientKey = { tenant: 'team', subject: `key ${client.prefix}`, role: 'client', source: '127.0.0.1' };
    const adminKey = { tenant: 'team', subject: `key ${admin.prefix}`, role: 'admin', source: '127.0.0.1' };
    expect(lines).toMatchObject([
      { action: 'tenants.load', result: 'loaded' },
      {
        ...clientKey,
        action: 'request.cancel',
        result: 'cancelled',
        before: 'queued',
        after: 'cancelled',
        request: 'the-cancel',
      },
      { ...adminKey, action: 'dead-letter.redrive', object: { app: 'uid-echo', tenant: 'team' }, result: 'redriven' },
      {
        ...adminKey,
        action: 'dead-letter.purge',
        object: { app: 'uid-echo' },
        result: 'discarded',
        after: { discarded: 1 },
      },
      { subject: 'operator', action: 'unit.retire', object: { app: 'uid-echo', unit: 'unit-1' }, source: '127.0.0.1' },
      { subject: 'operator', action: 'app.purge', object: { app: 'uid-other' }, result: 'purged' },
      {
        action: 'tenants.reload',
        before: { tenants: { team: { apiKeys: [`${client.prefix} client`, `${admin.prefix} admin`] } } },
        after: { tenants: { team: { weight: 4, apiKeys: [`${admin.prefix} admin`] } } },
      },
    ]);
    for (const line of lines)
      expect(line).toMatchObject({ audit: true, time: expect.stringMatching(/^\d{4}-.*Z$/) as string });
    const text = JSON.stringify(lines) + log();
    const secrets = [client, admin].flatMap(({ key, entry }) => [key, key.slice(13), entry.sha256]);
    for (const secret of [...secrets, SECRET_BODY, operator.authorization.slice(7), cancelled, failed]) {
      expect(text).not.toContain(secret);
    }
  });
});
