// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '#base/clock.ts';

export interface ReadinessSources {
  /** Accepts connections. */
  readonly listening: () => boolean;
  readonly stopping: () => boolean;
  /** Why TLS from the API server could not succeed. */
  readonly certificate: () => string | undefined;
  /** Everything that decisions rest on has been read once. */
  readonly synced: () => boolean;
  /** Why it could not be, lately. */
  readonly trouble: () => Error | undefined;
}

/**
 * Why the API server should not be sent here, or undefined. What could not be read within `graceMs` of now is no reason any more: pods
 * then pass whole and with a warning, and objects are still checked as far as they can be, which is better than nobody being there.
 */
export function createReadiness(sources: ReadinessSources, clock: Clock, graceMs: number): () => string | undefined {
  const graceEnds = clock.monotonic() + graceMs;
  return () => {
    if (sources.stopping()) return 'stopping';
    // It listens once there is one.
    const untrusted = sources.certificate();
    if (untrusted !== undefined) return untrusted;
    if (!sources.listening()) return 'not listening yet';
    if (sources.synced() || clock.monotonic() >= graceEnds) return undefined;
    return `what decisions rest on has not been read yet${because(sources.trouble())}`;
  };
}

function because(trouble: Error | undefined): string {
  return trouble === undefined ? '' : `: ${trouble.message}`;
}
