// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { reviewToken } from './token-review.ts';
import type { Call } from './transport.ts';

const USER = { username: 'system:serviceaccount:team:app', uid: 'u-1', groups: ['system:serviceaccounts'] };

function answering(status: unknown) {
  const calls: Call[] = [];
  const call = async (made: Call): Promise<unknown> => {
    calls.push(made);
    return { kind: 'TokenReview', status };
  };
  return { calls, client: { call } };
}

test('a token that is good for the audience names its user', async () => {
  const { calls, client } = answering({ authenticated: true, audiences: ['penstock'], user: USER });
  await expect(reviewToken(client, 'a.b.c', ['penstock'], { deadlineMs: 5 })).resolves.toEqual({
    username: USER.username,
    uid: 'u-1',
  });
  expect(calls).toMatchObject([
    {
      method: 'POST',
      path: '/apis/authentication.k8s.io/v1/tokenreviews',
      deadlineMs: 5,
      body: { spec: { token: 'a.b.c', audiences: ['penstock'] } },
    },
  ]);
});

test.each<[what: string, status: unknown]>([
  ['is nobody’s', { error: 'no such token' }],
  ['is refused', { authenticated: false, user: USER, audiences: ['penstock'] }],
  ['is meant for others', { authenticated: true, user: USER, audiences: ['api'] }],
  ['is meant for nobody in particular', { authenticated: true, user: USER }],
  ['has no user', { authenticated: true, audiences: ['penstock'] }],
  ['has a user without a name', { authenticated: true, audiences: ['penstock'], user: {} }],
])('a token that %s is not accepted', async (_what, status) => {
  await expect(reviewToken(answering(status).client, 'a.b.c', ['penstock'])).resolves.toBeUndefined();
});

test('an answer that is none is an error, not a verdict', async () => {
  await expect(reviewToken(answering(undefined).client, 'a.b.c', ['penstock'])).rejects.toMatchObject({
    name: 'KubeError',
    reason: 'MalformedAnswer',
  });
});
