// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { createFakeClock } from '#base/fake-clock.ts';
import type { Call } from '#kube/transport.ts';
import type { UserInfo } from '../admission/types.ts';
import { createPodCreators } from './access.ts';

const BOB: UserInfo = { username: 'bob', uid: 'u', groups: ['devs'], extra: { scopes: ['a'] } };
const { signal } = new AbortController();

function setUp(answer: () => unknown = () => ({ status: { allowed: true } })) {
  const calls: Call[] = [];
  const clock = createFakeClock();
  const client = {
    call: (call: Call): Promise<unknown> => {
      calls.push(call);
      return Promise.resolve().then(answer);
    },
  };
  const creators = createPodCreators(client, clock);
  const ask = (user = BOB, namespace = 'team'): Promise<boolean> => creators.mayCreatePods(user, namespace, signal);
  return { calls, clock, ask };
}

describe('the question who may create pods', () => {
  it('names everything that authorizers may go by', async () => {
    const { calls, ask } = setUp();
    expect(await ask()).toBe(true);
    expect(calls[0]).toMatchObject({
      method: 'POST',
      path: '/apis/authorization.k8s.io/v1/subjectaccessreviews',
      body: {
        spec: {
          user: 'bob',
          uid: 'u',
          groups: ['devs'],
          extra: { scopes: ['a'] },
          resourceAttributes: { namespace: 'team', verb: 'create', group: '', resource: 'pods' },
        },
      },
    });
  });

  it('is asked once in a while for the same user and namespace, and anew for any other', async () => {
    const { calls, clock, ask } = setUp();
    await ask();
    await ask();
    expect(calls).toHaveLength(1);
    await ask({ ...BOB, groups: ['devs', 'admins'] });
    await ask({ ...BOB, extra: { scopes: ['b'] } });
    await ask(BOB, 'other');
    expect(calls).toHaveLength(4);
    await clock.advance(10_001);
    await ask();
    expect(calls).toHaveLength(5);
  });

  it('is asked again soon after a no', async () => {
    const { calls, clock, ask } = setUp(() => ({ status: { allowed: false } }));
    expect(await ask()).toBe(false);
    expect(await ask()).toBe(false);
    await clock.advance(2_001);
    expect(await ask()).toBe(false);
    expect(calls).toHaveLength(2);
  });

  it.each([
    ['no answer', () => undefined],
    ['an answer without a verdict', () => ({ status: {} })],
    ['a verdict that is no truth value', () => ({ status: { allowed: 'true' } })],
  ])('has no answer with %s, and is not answered from memory', async (_what, answer) => {
    const { calls, ask } = setUp(answer);
    await expect(ask()).rejects.toThrow('SubjectAccessReview: the answer has no verdict');
    await expect(ask()).rejects.toThrow('SubjectAccessReview: the answer has no verdict');
    expect(calls).toHaveLength(2);
  });

  it('is forgotten for the oldest users when there are many', async () => {
    const { calls, ask } = setUp();
    for (let user = 0; user <= 1_024; user++) await ask({ username: `user-${user}` });
    await ask({ username: 'user-1024' });
    expect(calls).toHaveLength(1_025);
    await ask({ username: 'user-0' });
    expect(calls).toHaveLength(1_026);
  });
});
