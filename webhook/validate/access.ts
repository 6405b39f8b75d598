// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto';
import { canonicalJson, isObject } from '#base/json.ts';
import type { Clock } from '#base/clock.ts';
import type { KubeClient } from '#kube/client.ts';
import { KubeError, NO_ANSWER } from '#kube/errors.ts';
import type { UserInfo } from '../admission/types.ts';

const REVIEWS = '/apis/authorization.k8s.io/v1/subjectaccessreviews';
/** Of one question; the API server that asks us waits for little longer. */
const DEADLINE_MS = 3_000;
/** A burst of applies asks once. Short, since a right that was taken away must not work on. */
const ALLOWED_MS = 10_000;
/** Shorter still: who was just given the right tries again at once. */
const DENIED_MS = 2_000;
/** Answers kept; the oldest one goes first. */
const MAX_KEPT = 1_024;

/** Whether somebody may create pods in a namespace. */
export interface PodCreators {
  /** @throws KubeError when nobody can be asked */
  mayCreatePods(user: UserInfo, namespace: string, signal: AbortSignal): Promise<boolean>;
}

interface Kept {
  readonly allowed: boolean;
  readonly until: number;
}

export function createPodCreators(client: Pick<KubeClient, 'call'>, clock: Pick<Clock, 'monotonic'>): PodCreators {
  const kept = new Map<string, Kept>();
  const ask = async (user: UserInfo, namespace: string, signal: AbortSignal): Promise<boolean> => {
    const answer = await client.call({
      method: 'POST',
      path: REVIEWS,
      body: review(user, namespace),
      deadlineMs: DEADLINE_MS,
      signal,
    });
    const status = isObject(answer) ? answer['status'] : undefined;
    if (!isObject(status) || typeof status['allowed'] !== 'boolean') {
      throw new KubeError('SubjectAccessReview: the answer has no verdict', { status: 0, reason: NO_ANSWER.malformed });
    }
    return status['allowed'];
  };
  return {
    mayCreatePods: async (user, namespace, signal) => {
      const key = keyOf(user, namespace);
      const known = kept.get(key);
      if (known !== undefined && known.until > clock.monotonic()) return known.allowed;
      const allowed = await ask(user, namespace, signal);
      kept.delete(key);
      kept.set(key, { allowed, until: clock.monotonic() + (allowed ? ALLOWED_MS : DENIED_MS) });
      const [oldest] = kept.keys();
      if (kept.size > MAX_KEPT && oldest !== undefined) kept.delete(oldest);
      return allowed;
    },
  };
}

/** Everything that authorizers may go by: an impersonated user is told apart by groups and extra alone. */
function review({ username, uid, groups, extra }: UserInfo, namespace: string): object {
  return {
    apiVersion: 'authorization.k8s.io/v1',
    kind: 'SubjectAccessReview',
    spec: {
      user: username ?? '',
      ...(uid === undefined ? {} : { uid }),
      groups: groups ?? [],
      ...(extra === undefined ? {} : { extra }),
      resourceAttributes: { namespace, verb: 'create', group: '', version: 'v1', resource: 'pods' },
    },
  };
}

/** A digest: the user's extra may be large, and the answers kept are many. */
function keyOf(user: UserInfo, namespace: string): string {
  const { username, uid, groups, extra } = user;
  return createHash('sha256')
    .update(canonicalJson([username, uid, groups, extra, namespace]))
    .digest('base64');
}
