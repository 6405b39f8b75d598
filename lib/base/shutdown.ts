// SPDX-License-Identifier: Apache-2.0
import type { Logger } from './logger.ts';

/** How long a process may take to end in order before it ends anyway: below Kubernetes' default grace of 30 s. */
export const SHUTDOWN_LIMIT_MS = 25_000;

export interface Shutdown {
  /** Aborts on the first SIGTERM or SIGINT, or on `begin`. */
  readonly signal: AbortSignal;
  /** Registers a step; steps run one after another, last registered first. */
  onStop(name: string, step: () => Promise<void> | void): void;
  begin(reason: string): void;
  /** Resolves when every step has run (or the limit has passed). */
  readonly done: Promise<void>;
}

/** Orderly end of a process. A step that throws is logged and does not keep the others from running. */
export function createShutdown(logger: Logger, limitMs = SHUTDOWN_LIMIT_MS): Shutdown {
  const controller = new AbortController();
  const steps: { name: string; step: () => Promise<void> | void }[] = [];
  const { promise: done, resolve } = Promise.withResolvers<void>();

  const runSteps = async (): Promise<void> => {
    for (const { name, step } of steps.toReversed()) {
      try {
        await step();
      } catch (err) {
        logger.error({ step: name, err }, 'shutdown step failed');
      }
    }
  };
  const begin = (reason: string): void => {
    if (controller.signal.aborted) return;
    logger.info({ reason }, 'stopping');
    controller.abort(new Error(`stopping: ${reason}`));
    const limit = setTimeout(() => {
      logger.error({ limitMs }, 'shutdown took too long, leaving');
      resolve();
    }, limitMs);
    void runSteps().finally(() => {
      clearTimeout(limit);
      resolve();
    });
  };
  return { signal: controller.signal, onStop: (name, step) => void steps.push({ name, step }), begin, done };
}

/** Ends the process by SIGTERM or SIGINT; for `main.ts` files only. */
export function stopOnSignals(shutdown: Shutdown): void {
  for (const name of ['SIGTERM', 'SIGINT'] as const) process.on(name, () => shutdown.begin(name));
}
