// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '#base/clock.ts';
import type { Logger } from '#base/logger.ts';
import { ProblemError } from '#base/problem.ts';
import type { AccessLogger } from '../access-log.ts';
import type { GatewayMetrics } from '../metrics.ts';
import { answerError } from './answer.ts';
import { ClientGone } from './client-gone.ts';
import type { Exchange } from './exchange.ts';
import { checkRequestLine } from './server.ts';

export interface ServeContext {
  readonly port: 'client' | 'internal';
  readonly clock: Clock;
  readonly metrics: GatewayMetrics;
  /** For what went wrong. */
  readonly logger: Logger;
  /** One line per answer. */
  readonly accessLog: AccessLogger;
}

/** Runs one request: counts and logs its end, turns whatever its handler throws into a problem document. */
export function serve(x: Exchange, context: ServeContext, handle: () => Promise<void> | void): void {
  x.res.once('close', () => finished(x, context));
  void run(x, context, handle);
}

async function run(x: Exchange, { logger }: ServeContext, handle: () => Promise<void> | void): Promise<void> {
  try {
    checkRequestLine(x.req);
    await handle();
  } catch (err) {
    if (err instanceof ClientGone || isCutDownload(err)) return;
    if (!(err instanceof ProblemError)) logger.error({ err, request: x.requestId, route: x.route }, 'request failed');
    // Shedding is for having less to do: it is counted, and stands in the access log.
    else if ((err.status >= 503 && err.code !== 'overloaded') || err.code === 'internal')
      logger.warn({ err, request: x.requestId, route: x.route }, 'request refused');
    answerError(x, err);
  }
}

/** The client left in the middle of a result. */
function isCutDownload(err: unknown): boolean {
  return err instanceof Error && 'code' in err && err.code === 'ERR_STREAM_PREMATURE_CLOSE';
}

function finished(x: Exchange, { port, clock, metrics, accessLog }: ServeContext): void {
  const ms = clock.monotonic() - x.startedAt;
  metrics.answered(x, port, ms / 1000);
  accessLog.info(
    {
      port,
      method: x.req.method,
      route: x.route,
      status: x.res.statusCode,
      ms: Math.round(ms * 10) / 10,
      request: x.requestId,
      tenant: x.tenant,
      subject: x.subject,
      app: x.app,
      unit: x.unit,
      // The client left before the answer was out.
      cut: x.res.writableFinished ? undefined : true,
    },
    'answered',
  );
}
