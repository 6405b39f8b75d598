// SPDX-License-Identifier: Apache-2.0
// Every way in which a unit's work can go wrong, told apart by what the unit does about it.

/** The gateway answered with a 4xx that a repeat can't change. */
export class BrokerError extends Error {
  readonly status: number;

  constructor(call: string, status: number, detail: string) {
    super(`${call}: ${status} ${detail}`);
    this.name = 'BrokerError';
    this.status = status;
  }
}

/** The gateway (or a signed URL's server) can't be reached or is not itself: try again later. */
export class BrokerUnavailable extends Error {
  constructor(call: string, detail: string, options?: ErrorOptions) {
    super(`${call}: ${detail}`, options);
    this.name = 'BrokerUnavailable';
  }
}

/** The unit token, or the session made from it, is refused: the unit was retired or its app is gone. */
export class TokenRefused extends Error {
  constructor(detail: string) {
    super(detail);
    this.name = 'TokenRefused';
  }
}

/** The handler did not load, or the model server did not become healthy. */
export class NotReady extends Error {
  constructor(detail: string, options?: ErrorOptions) {
    super(detail, options);
    this.name = 'NotReady';
  }
}

/** A thread, a child process or the model server is gone or unhealthy: the unit goes down with it. */
export class HostDied extends Error {
  constructor(detail: string, options?: ErrorOptions) {
    super(detail, options);
    this.name = 'HostDied';
  }
}

/** Longest cause that travels: the queue keeps at most 2 KiB. */
const CAUSE_LIMIT = 2000;

/** A sentence about anything thrown, short enough for the wire. */
export function describe(thrown: unknown): string {
  const message = thrown instanceof Error ? `${thrown.name}: ${thrown.message}` : String(thrown);
  return clip(message);
}

export function clip(message: string): string {
  return message.length <= CAUSE_LIMIT ? message : `${message.slice(0, CAUSE_LIMIT)}…`;
}
