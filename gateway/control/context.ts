// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '#base/clock.ts';
import type { Logger } from '#base/logger.ts';
import type { AppSource } from '../apps/app-source.ts';
import type { AuditLog } from '../audit.ts';
import { bearerOf } from '../auth/credential.ts';
import { refuse } from '../auth/jwt.ts';
import type { Revocations } from '../auth/revocations.ts';
import type { Sessions } from '../auth/sessions.ts';
import type { Exchange } from '../http/exchange.ts';
import type { LeaseQueue } from '../queue/lease-queue.ts';
import type { ObjectStore } from '../store/object-store.ts';
import type { WakeStreams } from './wake-streams.ts';

/** What the operator's calls work with. */
export interface ControlContext {
  readonly queue: LeaseQueue;
  readonly store: ObjectStore;
  readonly apps: AppSource;
  readonly sessions: Sessions;
  readonly revocations: Revocations;
  readonly streams: WakeStreams;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly audit: AuditLog;
}

/** Only the operator, by a token of its own key. @throws ProblemError 401 */
export async function checkOperator(x: Exchange, sessions: Sessions): Promise<void> {
  const bearer = bearerOf(x.req);
  if (bearer === undefined) throw refuse('is missing');
  await sessions.verifyOperator(bearer);
}
