// SPDX-License-Identifier: Apache-2.0
import { isObject } from '#base/json.ts';
import type { KubeClient } from './client.ts';
import { KubeError, NO_ANSWER } from './errors.ts';
import type { CallOptions } from './transport.ts';

const TOKEN_REVIEWS = '/apis/authentication.k8s.io/v1/tokenreviews';

/** Whom the API server takes the bearer of a token for. */
export interface Reviewed {
  /** `system:serviceaccount:<namespace>:<name>`, or any other user of the cluster. */
  readonly username: string;
  readonly uid?: string;
}

/**
 * Asks the API server whose token this is, and whether it is meant for one of `audiences` (TokenReview, authentication.k8s.io/v1).
 * Undefined: it is nobody's, or meant for others.
 * @throws KubeError when the API server cannot be asked
 */
export async function reviewToken(
  client: Pick<KubeClient, 'call'>,
  token: string,
  audiences: readonly string[],
  options: CallOptions = {},
): Promise<Reviewed | undefined> {
  const body = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenReview', spec: { token, audiences } };
  const answer = await client.call({ ...options, method: 'POST', path: TOKEN_REVIEWS, body });
  const status = isObject(answer) ? answer['status'] : undefined;
  if (!isObject(status)) {
    throw new KubeError('TokenReview: the answer has no status', { status: 0, reason: NO_ANSWER.malformed });
  }
  const { authenticated, user, audiences: meant } = status;
  if (authenticated !== true || !isObject(user)) return undefined;
  // An API server whose authenticator does not know audiences answers none; then nobody has said that the token is meant for us.
  const known: unknown[] = Array.isArray(meant) ? meant : [];
  const { username, uid } = user;
  if (!known.some((one) => typeof one === 'string' && audiences.includes(one)) || typeof username !== 'string')
    return undefined;
  return { username, ...(typeof uid === 'string' && uid !== '' ? { uid } : {}) };
}
