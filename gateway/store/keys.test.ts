// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { isStoreError } from './errors.ts';
import {
  MIRRORED_APPS,
  MIRRORED_RUN_KEY,
  appPrefix,
  bodyKey,
  checkKey,
  checkPrefix,
  generationKey,
  mirroredApp,
  parseKey,
  resultKey,
  resultsPrefix,
} from './keys.ts';

const APP = '0b0e9bd5-6d0a-4f8c-9a3e-0f6f1c2d3e4f';
const ID = '01920000-0000-7000-8000-000000000001';
const NONCE = '0123456789abcdef';
const badKey = (call: () => unknown): boolean => {
  try {
    call();
    return false;
  } catch (err) {
    return isStoreError(err, 'bad-key');
  }
};

describe('object keys', () => {
  it('name version, app, kind, request and attempt', () => {
    expect(bodyKey(APP, ID)).toBe(`v1/${APP}/bodies/${ID}`);
    expect(resultKey(APP, ID, { epoch: 3, nonce: NONCE })).toBe(`v1/${APP}/results/${ID}/3.${NONCE}`);
    expect(appPrefix(APP)).toBe(`v1/${APP}/`);
  });

  it('of the mirror lie beside those of requests', () => {
    expect(generationKey(APP)).toBe(`mirror/v1/apps/${APP}.json`);
    expect(generationKey(APP).startsWith(MIRRORED_APPS)).toBe(true);
    expect(mirroredApp(generationKey(APP))).toBe(APP);
    for (const key of [MIRRORED_RUN_KEY, `mirror/v1/apps/${APP}`, 'mirror/v1/apps/A.json', bodyKey(APP, ID)]) {
      expect(mirroredApp(key)).toBeUndefined();
    }
    expect(badKey(() => generationKey('../x'))).toBe(true);
  });

  it('of all results of an app share a prefix, and go by the time of their requests', () => {
    const key = resultKey(APP, ID, { epoch: 3, nonce: NONCE });
    expect(key).toBe(`${resultsPrefix(APP)}${ID}/3.${NONCE}`);
    expect(resultKey(APP, ID.replace('0192', '0193'), { epoch: 1, nonce: NONCE }) > key).toBe(true);
  });

  it('are read back into what they name; any other key is none of ours', () => {
    expect(parseKey(bodyKey(APP, ID))).toEqual({ app: APP, id: ID });
    expect(parseKey(resultKey(APP, ID, { epoch: 3, nonce: NONCE }))).toEqual({ app: APP, id: ID, epoch: 3 });
    const foreign = [
      generationKey(APP),
      MIRRORED_RUN_KEY,
      'layout.json',
      `v2/${APP}/bodies/${ID}`,
      `v1/${APP}/bodies/${ID}/1.${NONCE}`,
      `v1/${APP}/bodies/x`,
      `v1/${APP}/results/${ID}`,
      `v1/${APP}/results/${ID}/0.${NONCE}`,
      `v1/${APP}/results/${ID}/1.${NONCE}.x`,
      `v1/${APP}/results/${ID}/1.${NONCE}/x`,
      `v1/${APP}/other/${ID}/1.${NONCE}`,
    ];
    for (const key of foreign) expect([key, parseKey(key)]).toEqual([key, undefined]);
  });

  it.each(['', '..', 'a/b', '../x', 'A', '-a', 'a-', 'a.b', 'a'.repeat(64), 'a\n', 'ä'])(
    'an app uid is never %j',
    (uid) => {
      expect(badKey(() => bodyKey(uid, ID))).toBe(true);
    },
  );

  it.each(['', '..', ID.replace('-8', '-C'), `${ID}\n`, ID.replace('-7', '-4'), `${ID}/x`, 'x'])(
    'a request id is never %j',
    (id) => {
      expect(badKey(() => bodyKey(APP, id))).toBe(true);
      expect(badKey(() => resultKey(APP, id, { epoch: 1, nonce: NONCE }))).toBe(true);
    },
  );

  it.each([
    [0, NONCE],
    [-1, NONCE],
    [1.5, NONCE],
    [Number.NaN, NONCE],
    [2 ** 53, NONCE],
    [1, ''],
    [1, NONCE.slice(1)],
    [1, NONCE.toUpperCase()],
    [1, '../../../../etc/x'],
  ])('an attempt is never epoch %j with nonce %j', (epoch, nonce) => {
    expect(badKey(() => resultKey(APP, ID, { epoch, nonce }))).toBe(true);
  });

  it('built keys pass the check of the drivers, prefixes may end anywhere', () => {
    const key = resultKey(APP, ID, { epoch: 1, nonce: NONCE });
    expect(checkKey(key)).toBe(key);
    for (let end = 0; end <= key.length; end++) expect(checkPrefix(key.slice(0, end))).toBe(key.slice(0, end));
  });
});
