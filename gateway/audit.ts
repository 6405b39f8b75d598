// SPDX-License-Identifier: Apache-2.0
import { pino } from 'pino';
import type { Clock } from '#base/clock.ts';
import type { Logger } from '#base/logger.ts';
import type { Tenant } from './auth/tenants.ts';
import type { Exchange } from './http/exchange.ts';

export type AuditAction =
  | 'request.cancel'
  | 'dead-letter.redrive'
  | 'dead-letter.redrive-all'
  | 'dead-letter.purge'
  | 'unit.retire'
  | 'credential.revoke'
  | 'app.purge'
  | 'tenants.load'
  | 'tenants.reload';

/** By whom: identities, never a credential. */
export interface AuditWho {
  readonly tenant?: string;
  /** `key psk_abcd2345`, `system:serviceaccount:ns:name`, `operator`, `file /etc/…`. */
  readonly subject: string;
  readonly role?: string;
  /** Address of the peer as the socket has it: behind an ingress the ingress's. */
  readonly source?: string;
  /** X-Request-Id: ties the line to the access log and the client's. */
  readonly request?: string;
}

export interface AuditEntry extends AuditWho {
  readonly action: AuditAction;
  /** What was acted on, by names and ids. */
  readonly object: Readonly<Record<string, string | number | undefined>>;
  /** What came of it: an outcome's name, or the code of the error. */
  readonly result: string;
  /** What changed, where something did: states, counts, names. Never a body. */
  readonly before?: unknown;
  readonly after?: unknown;
}

export interface AuditLog {
  record(entry: AuditEntry): void;
  close(): void;
}

export const noAudit: AuditLog = { record: () => {}, close: () => {} };

/** Who calls a client route. */
export function callerOf({ req, requestId }: Pick<Exchange, 'req' | 'requestId'>, tenant: Tenant): AuditWho {
  const source = req.socket.remoteAddress;
  return {
    tenant: tenant.name,
    subject: tenant.subject,
    role: tenant.role,
    ...(source === undefined ? {} : { source }),
    request: requestId,
  };
}

/** The operator, who has shown a token of its key. */
export function operatorOf({ req, requestId }: Pick<Exchange, 'req' | 'requestId'>): AuditWho {
  const source = req.socket.remoteAddress;
  return { subject: 'operator', ...(source === undefined ? {} : { source }), request: requestId };
}

export interface AuditOptions {
  /** Appended to; default: standard output. */
  readonly file?: string | undefined;
  readonly clock: Pick<Clock, 'now'>;
  readonly logger: Logger;
}

/**
 * One JSON line per entry, written before `record` returns: a line must not be lost with the process that did the deed.
 * @throws Error when the file cannot be opened
 */
export function openAuditLog({ file, clock, logger }: AuditOptions): AuditLog {
  const out = pino.destination({ dest: file ?? 1, sync: true, append: true });
  // A full disk must not end the process; that a line is missing here stands in the other log.
  out.on('error', (err: unknown) => logger.error({ err, file }, 'the audit log cannot be written'));
  return {
    record: (entry) => {
      const line = { time: new Date(clock.now()).toISOString(), audit: true, ...entry };
      out.write(`${JSON.stringify(line)}\n`);
    },
    close: () => out.end(),
  };
}
