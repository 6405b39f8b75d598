// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '#base/clock.ts';
import { NO_LINE_LOG, openLineLog } from '#base/line-log.ts';
import type { LineLog, LineLogger } from '#base/line-log.ts';

export type AccessLogger = LineLogger;

/** One line per answer, if there is to be one. */
export function openAccessLog(enabled: boolean, clock: Pick<Clock, 'now'>): LineLog {
  return enabled ? openLineLog('access', clock) : NO_LINE_LOG;
}
