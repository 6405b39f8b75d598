// SPDX-License-Identifier: Apache-2.0

/** Beside Penstock's own: pods of these never come to the webhook (namespaceSelector in config/webhook/webhooks.yaml). */
const LEFT_ALONE = 'kube-system';

/** Whether API servers send pods of this namespace; a review of another is not by one. `own`: Penstock's. */
export function isServed(namespace: string, own: string): boolean {
  return namespace !== own && namespace !== LEFT_ALONE;
}
