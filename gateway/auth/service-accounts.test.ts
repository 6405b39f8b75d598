// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { createFakeClock } from '#base/fake-clock.ts';
import { silentLogger } from '#base/logger.ts';
import { createRegistry } from '#base/metrics.ts';
import type { Reviewed } from '#kube/token-review.ts';
import { TOKEN_REVIEWS_MAX, TOKEN_REVIEWS_WAITING_MAX } from '../limits.ts';
import { createServiceAccounts } from './service-accounts.ts';
import { withServiceAccounts } from './tenants-and-accounts.ts';
import { createTenants } from './tenants.ts';

const START = Date.UTC(2026, 5, 1);
const HOUR = 3_600;

function token(claims: object, tail = 'signature'): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${part({ alg: 'RS256' })}.${part({ aud: ['penstock'], exp: START / 1000 + HOUR, ...claims })}.${tail}`;
}

function reviewer(answer: (asked: number) => Reviewed | undefined | Promise<Reviewed | undefined>) {
  const clock = createFakeClock(START);
  const registry = createRegistry('test', false);
  let asked = 0;
  const review = async (): Promise<Reviewed | undefined> => await answer(asked++);
  const accounts = createServiceAccounts({ review, clock, logger: silentLogger, registry });
  const reviews = async (): Promise<Record<string, number>> => {
    const found = await registry.getSingleMetric('penstock_gateway_token_reviews_total')?.get();
    return Object.fromEntries((found?.values ?? []).map(({ labels, value }) => [String(labels['outcome']), value]));
  };
  return { clock, accounts, asked: () => asked, reviews };
}

const APP = { username: 'system:serviceaccount:team:app' };
const identified = async (accounts: ReturnType<typeof reviewer>['accounts'], text: string) =>
  await accounts.identify(text);

test('the API server is asked once a minute about a token, however often it comes', async () => {
  const { clock, accounts, asked, reviews } = reviewer(() => APP);
  expect(await reviews()).toEqual({ accepted: 0, refused: 0, failed: 0 });
  const all = await Promise.all(Array.from({ length: 50 }, () => identified(accounts, token({}))));
  expect(new Set(all.map((one) => JSON.stringify(one)))).toEqual(new Set(['{"namespace":"team","name":"app"}']));
  await clock.advance(59_999);
  expect(accounts.identify(token({}))).toEqual({ namespace: 'team', name: 'app' });
  expect(asked()).toBe(1);
  await clock.advance(1);
  await identified(accounts, token({}));
  await identified(accounts, token({}, 'another'));
  expect(asked()).toBe(3);
  expect(await reviews()).toEqual({ accepted: 3, refused: 0, failed: 0 });
});

test('a verdict does not outlive the token', async () => {
  const { clock, accounts, asked } = reviewer(() => APP);
  const short = token({ exp: START / 1000 + 5 });
  await identified(accounts, short);
  await clock.advance(4_999);
  expect(accounts.identify(short)).toMatchObject({ name: 'app' });
  await clock.advance(1);
  expect(() => accounts.identify(short)).toThrow('has expired');
  expect(asked()).toBe(1);
});

describe('refused with 401', () => {
  test.each<[what: string, claims: object]>([
    ['a token for another audience', { aud: ['https://kubernetes.default.svc'] }],
    ['a token for nobody in particular', { aud: undefined }],
    ['an expired one', { exp: START / 1000 - 1 }],
    ['one whose end cannot be read', { exp: 'soon' }],
  ])('%s, and the API server is not asked', (_what, claims) => {
    const { accounts, asked } = reviewer(() => APP);
    expect(() => accounts.identify(token(claims))).toThrow(expect.objectContaining({ status: 401 }));
    expect(asked()).toBe(0);
  });

  test.each(['a.b.c', 'a.W10.c', `a.${'e'.repeat(9000)}.c`])('what is no JWT (%#)', (text) => {
    const { accounts, asked } = reviewer(() => APP);
    expect(() => accounts.identify(text)).toThrow(expect.objectContaining({ status: 401 }));
    expect(asked()).toBe(0);
  });

  test.each<[what: string, user: Reviewed | undefined]>([
    ['a token that the API server does not know', undefined],
    ['a user who is no ServiceAccount', { username: 'admin' }],
    ['a user with a name made to look like one', { username: 'x:system:serviceaccount:team:app' }],
    ['a node', { username: 'system:node:n1' }],
  ])('%s, for the next ten seconds without asking again', async (_what, user) => {
    const { clock, accounts, asked } = reviewer(() => user);
    await expect(identified(accounts, token({}))).rejects.toMatchObject({ status: 401 });
    await clock.advance(9_999);
    await expect(identified(accounts, token({}))).rejects.toMatchObject({ status: 401 });
    expect(asked()).toBe(1);
    await clock.advance(1);
    await expect(identified(accounts, token({}))).rejects.toMatchObject({ status: 401 });
    expect(asked()).toBe(2);
  });
});

test('an API server that cannot be asked is a 503, and is asked again by the next call', async () => {
  const { accounts, reviews } = reviewer((asked) => {
    if (asked === 0) throw new Error('connection refused');
    return APP;
  });
  await expect(identified(accounts, token({}))).rejects.toMatchObject({
    status: 503,
    code: 'credential-unchecked',
    headers: { 'retry-after': '1' },
  });
  await expect(identified(accounts, token({}))).resolves.toMatchObject({ name: 'app' });
  expect(await reviews()).toEqual({ accepted: 1, refused: 0, failed: 1 });
});

test('a flood of tokens makes a bounded number of calls at once; what is beyond the queue is a 503', async () => {
  const open = Promise.withResolvers<void>();
  let running = 0;
  let most = 0;
  const { accounts, asked } = reviewer(async () => {
    running += 1;
    most = Math.max(most, running);
    await open.promise;
    running -= 1;
    return APP;
  });
  const flood = Array.from({ length: TOKEN_REVIEWS_MAX + TOKEN_REVIEWS_WAITING_MAX + 7 }, (_, i) =>
    identified(accounts, token({}, `t${i}`)).then(
      () => 'in',
      (err: { status: number }) => err.status,
    ),
  );
  open.resolve();
  const ends = await Promise.all(flood);
  expect(ends.filter((end) => end === 503)).toHaveLength(7);
  expect([most, asked()]).toEqual([TOKEN_REVIEWS_MAX, TOKEN_REVIEWS_MAX + TOKEN_REVIEWS_WAITING_MAX]);
  await expect(identified(accounts, token({}, 'later'))).resolves.toMatchObject({ name: 'app' });
});

test('with tokens nobody is anonymous; the tenant is that of the document as it is now', async () => {
  const { accounts } = reviewer(() => APP);
  const base = createTenants({ tenants: [] }, createFakeClock());
  expect(withServiceAccounts(base, accounts).anonymous()).toBeUndefined();
  expect(await withServiceAccounts(base, accounts).byToken?.(token({}))).toMatchObject({
    name: 'team',
    role: 'client',
  });
  const named = { namespace: 'team', name: 'app', role: 'operator' as const };
  const later = createTenants({ tenants: [{ name: 'acme', serviceAccounts: [named] }] }, createFakeClock());
  expect(withServiceAccounts(later, accounts).byToken?.(token({}))).toMatchObject({ name: 'acme', role: 'operator' });
});
