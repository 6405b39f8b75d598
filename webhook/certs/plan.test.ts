// SPDX-License-Identifier: Apache-2.0
import { beforeAll, describe, expect, it } from 'vitest';
import { mintAuthority, mintLeaf } from './authority.ts';
import type { Minted } from './minted.ts';
import { plan } from './plan.ts';
import type { Plan, Situation } from './plan.ts';
import { certificateTimes } from './times.ts';
import { MAX_AUTHORITIES, readTrust, writeTrust } from './trust.ts';
import type { Leaf } from './trust.ts';

const DAY_MS = 24 * 3600 * 1000;
const NOW = Date.UTC(2026, 10, 21);
const HOST = 'penstock-webhook.penstock-system.svc';
const times = certificateTimes();

let first: Minted;
let second: Minted;
let leafOfFirst: Minted;
let leafOfSecond: Minted;

beforeAll(async () => {
  first = await mintAuthority(NOW, times.authorityMs);
  second = await mintAuthority(NOW + 30 * DAY_MS, times.authorityMs);
  leafOfFirst = await mintLeaf(first, ['w', HOST], NOW, times.leafMs);
  leafOfSecond = await mintLeaf(second, ['w', HOST], NOW + 30 * DAY_MS, times.leafMs);
});

function secret(signer: Minted, leaf: Minted, ...older: Minted[]): Record<string, string> {
  const authorities = [signer, ...older].map(({ certificate }) => certificate);
  return writeTrust({ authorities, signer, leaf: { chain: leaf.certificate.toString(), key: leaf.key } });
}

function situation(data: Record<string, string> | undefined, more: Partial<Situation> = {}): Situation {
  return { stored: readTrust(data), served: undefined, configured: [], host: HOST, now: NOW, times, ...more };
}

function leafOf(signer: Minted, leaf: Minted): Leaf {
  return readTrust(secret(signer, leaf)).leaf!;
}

/** The CAs of the plan by their own names: 1, 2, or ? for another one. */
function known(step: Plan): string {
  if (step.kind === 'keep') return '';
  const names = new Map([first, second].map(({ certificate }, index) => [certificate.fingerprint256, `${index + 1}`]));
  return step.authorities.map((one) => names.get(one.fingerprint256) ?? '?').join(' ');
}

const without = (key: string) => {
  const { [key]: _left, ...rest } = secret(first, leafOfFirst);
  return rest;
};
const damaged = (key: string, text = 'rubbish') => ({
  ...secret(first, leafOfFirst),
  [key]: Buffer.from(text).toString('base64'),
});

describe('what is to be done with the Secret', () => {
  const cases: Record<string, [() => Situation, kind: Plan['kind'], authorities: string]> = {
    'no Secret: a CA and a leaf': [() => situation(undefined), 'authority', ''],
    'an empty Secret: the same': [() => situation({}), 'authority', ''],
    'a fresh one is kept': [() => situation(secret(first, leafOfFirst)), 'keep', ''],
    'kept until the lookahead begins': [
      () => situation(secret(first, leafOfFirst), { now: NOW + times.leafMs - times.lookaheadMs }),
      'keep',
      '',
    ],
    'renewed from the lookahead on, by the same CA': [
      () => situation(secret(first, leafOfFirst), { now: NOW + times.leafMs - times.lookaheadMs + 1 }),
      'leaf',
      '1',
    ],
    'renewed when it has run out': [
      () => situation(secret(first, leafOfFirst), { now: NOW + times.leafMs + DAY_MS }),
      'leaf',
      '1',
    ],
    'a CA that would end before its leaf is followed by another one': [
      () => situation(secret(first, leafOfFirst), { now: NOW + times.authorityMs - times.leafMs + DAY_MS }),
      'authority',
      '1',
    ],
    'a CA that has run out is trusted no more': [
      () => situation(secret(first, leafOfFirst), { now: NOW + times.authorityMs + DAY_MS }),
      'authority',
      '',
    ],
    'the old CA stays beside the new one': [
      () => situation(secret(second, leafOfSecond, first), { now: NOW + 31 * DAY_MS }),
      'keep',
      '',
    ],
    'until nobody can serve a leaf of it any more': [
      () => situation(secret(second, leafOfSecond, first), { now: NOW + 30 * DAY_MS + times.lookaheadMs + 1 }),
      'tidy',
      '2',
    ],
    'a certificate for another Service is replaced': [
      () => situation(secret(first, leafOfFirst), { host: 'other.penstock-system.svc' }),
      'leaf',
      '1',
    ],
    'without the key of the CA: another CA, the old one stays trusted': [
      () => situation(without('ca.key')),
      'authority',
      '1',
    ],
    'with a damaged key of the CA: the same': [() => situation(damaged('ca.key')), 'authority', '1'],
    'without the key of the leaf: another leaf': [() => situation(without('tls.key')), 'leaf', '1'],
    'with a damaged leaf: another leaf': [() => situation(damaged('tls.crt')), 'leaf', '1'],
    'without the CA: another one': [() => situation(without('ca.crt')), 'authority', ''],
    'with text around the CAs: as they are': [
      () => situation(damaged('ca.crt', first.certificate.toString() + leafOfFirst.certificate.toString())),
      'tidy',
      '1',
    ],
    'a leaf of a CA that is not trusted is replaced': [() => situation(secret(first, leafOfSecond)), 'leaf', '1'],
    'a deleted Secret: what this replica serves stays trusted': [
      () => situation(undefined, { served: leafOf(first, leafOfFirst) }),
      'authority',
      '1',
    ],
    'a deleted Secret: what others may serve stays trusted': [
      () => situation(undefined, { configured: [second.certificate] }),
      'authority',
      '2',
    ],
    'a Secret with CAs: what a stranger wrote into a caBundle is not adopted': [
      () => situation(without('tls.key'), { configured: [second.certificate] }),
      'leaf',
      '1',
    ],
  };
  it.each(Object.entries(cases))('%s', (_name, [given, kind, authorities]) => {
    const step = plan(given());
    expect([step.kind, known(step)]).toEqual([kind, authorities]);
  });

  it('trusts no more CAs than fit, however often the Secret is lost', async () => {
    const configured = await Promise.all(
      Array.from(
        { length: MAX_AUTHORITIES + 3 },
        async () => (await mintAuthority(NOW, times.authorityMs)).certificate,
      ),
    );
    const step = plan(situation(undefined, { served: leafOf(first, leafOfFirst), configured }));
    expect(step.kind === 'authority' && step.authorities.length).toBe(MAX_AUTHORITIES - 1);
    expect(known(step).split(' ')[0]).toBe('1');
  });

  it('tells a Secret that was deleted from one that has never been', () => {
    expect(plan(situation(undefined))).toMatchObject({ reason: 'there is none yet' });
    const gone = 'there is none any more';
    expect(plan(situation(undefined, { served: leafOf(first, leafOfFirst) }))).toMatchObject({ reason: gone });
    expect(plan(situation({}, { configured: [second.certificate] }))).toMatchObject({ reason: gone });
  });

  it('says why, and nothing of a key', () => {
    const step = plan(situation(damaged('tls.key', 'secret stuff')));
    expect(step).toMatchObject({ kind: 'leaf', reason: 'tls.key is no private key' });
  });
});

describe('the times', () => {
  it('a leaf that would be due at once is refused', () => {
    expect(() => certificateTimes({ leafMs: DAY_MS })).toThrow('must be less than its life');
  });
  it('a CA shorter than its leaves is refused', () => {
    expect(() => certificateTimes({ authorityMs: 100 * DAY_MS })).toThrow('must live as long');
  });
});
