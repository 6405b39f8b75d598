// SPDX-License-Identifier: Apache-2.0
import { beforeAll, describe, expect, it } from 'vitest';
import { mintAuthority, mintLeaf } from './authority.ts';
import type { Minted } from './minted.ts';
import { changeOver } from './change-over.ts';
import type { Moment } from './change-over.ts';
import { certificateTimes } from './times.ts';
import type { Leaf } from './trust.ts';

const HOUR_MS = 3_600_000;
const NOW = Date.UTC(2026, 10, 21);
const HOST = 'penstock-webhook.penstock-system.svc';
const times = certificateTimes();

let authority: Minted;
let old: Leaf;
let fresh: Leaf;
let future: Leaf;

async function leafAt(now: number, names = [HOST]): Promise<Leaf> {
  const { certificate, key } = await mintLeaf(authority, names, now, times.leafMs);
  return { certificate, key, chain: certificate.toString(), authority: authority.certificate };
}

beforeAll(async () => {
  authority = await mintAuthority(NOW, times.authorityMs);
  old = await leafAt(NOW - 300 * 24 * HOUR_MS);
  fresh = await leafAt(NOW);
  // An hour before its `now` it begins.
  future = await leafAt(NOW + 3 * HOUR_MS);
});

describe('a replica changes over to the leaf of the Secret', () => {
  const cases: Record<string, [() => Partial<Moment>, wait: number | 'now']> = {
    'at once, when it serves nothing': [() => ({ served: undefined, trustedForMs: undefined }), 'now'],
    'at once, when what it serves has ended': [
      () => ({ trustedForMs: undefined, now: NOW + 66 * 24 * HOUR_MS }),
      'now',
    ],
    'at once, when what it serves is for another Service': [
      () => ({ trustedForMs: undefined, host: 'other.penstock-system.svc' }),
      'now',
    ],
    'when every API server has had time to read the bundle': [() => ({ trustedForMs: times.propagationMs }), 'now'],
    'when nobody calls at all': [() => ({ trustedForMs: Infinity }), 'now'],
    'not while a bundle lacks its CA': [() => ({ trustedForMs: undefined }), times.checkMs],
    'not right after the bundle was written': [() => ({ trustedForMs: 1000 }), times.propagationMs - 1000],
    'not before it begins to be valid': [() => ({ stored: future, trustedForMs: Infinity }), 2 * HOUR_MS],
    'and goes on with it': [() => ({ served: fresh, trustedForMs: undefined }), 'now'],
  };
  it.each(Object.entries(cases))('%s', (_name, [given, wait]) => {
    const moment = { stored: fresh, served: old, trustedForMs: 0, host: HOST, now: NOW, times, ...given() };
    const change = changeOver(moment);
    expect(change.when === 'later' ? change.waitMs : change.when).toBe(wait);
  });
});
