// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events';
import { createSecureServer } from 'node:http2';
import type {
  Http2SecureServer,
  Http2ServerRequest,
  Http2ServerResponse,
  SecureServerOptions,
  ServerHttp2Session,
  ServerHttp2Stream,
} from 'node:http2';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Clock } from '#base/clock.ts';
import type { Logger } from '#base/logger.ts';
import type { Random } from '#base/random.ts';
import type { ServingCertificate } from '../certs/serving-certificate.ts';
import type { WebhookMetrics } from '../metrics.ts';
import { http1Call, http2Call, ignoreError } from './call.ts';
import type { Call } from './call.ts';
import { Connections } from './connections.ts';
import { Exchange } from './exchange.ts';
import * as limits from './limits.ts';
import { createLoads } from './load.ts';
import type { Loads } from './load.ts';
import type { Route } from './routes.ts';
import { deadlines } from './timeout.ts';

export interface AdmissionServerOptions {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  readonly routes: ReadonlyMap<string, Route>;
  readonly certificate: Pick<ServingCertificate, 'current' | 'onChange'>;
  readonly metrics: WebhookMetrics;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Of an HTTP/2 connection; default 15 minutes. */
  readonly maxAgeMs?: number;
  /** PEM of CAs. Given: only clients with a certificate by one of them are let in. */
  readonly clientCa?: string;
}

export interface AdmissionServer {
  /** Listens once there is a certificate, since nobody could be answered before. Answers the port; undefined when it ended before. */
  start(): Promise<number | undefined>;
  listening(): boolean;
  /** Reviews under way and open connections. */
  load(): { readonly reviews: number; readonly connections: number };
  /** Whether it answers as one that is about to end. */
  stopping(): boolean;
  /** Serves for `drainMs` more, so that whoever sends reviews hears of the end first, then ends every connection in order. Final. */
  drain(drainMs: number, noticeMs?: number): Promise<void>;
}

/** TLS with HTTP/2 and HTTP/1.1 on one port, by plain handlers. */
export function createAdmissionServer(options: AdmissionServerOptions): AdmissionServer {
  const { clock, certificate, logger, clientCa } = options;
  const load = createLoads();
  const connections = new Connections(options.random, options.maxAgeMs);
  const context = { ...options, load, deadlineOf: deadlines() };
  const trust = clientCa === undefined ? {} : { ca: clientCa };
  const isAsked = clientCa !== undefined;
  const server = createSecureServer({ ...SERVER_OPTIONS, ...trust, requestCert: isAsked, rejectUnauthorized: isAsked });
  const certified = Promise.withResolvers<boolean>();
  let stopping = false;
  let sweeping: NodeJS.Timeout | undefined;
  let stopListening = (): void => {};

  server.setTimeout(limits.IDLE_MS);
  connections.watch(server);
  onCalls(
    server,
    connections,
    (call) => new Exchange(call, context).start(),
    () => stopping,
  );

  const serve = (pair: { readonly key: string; readonly cert: string } | undefined): void => {
    if (pair === undefined) return;
    try {
      server.setSecureContext({ ...pair, ...trust, minVersion: 'TLSv1.2' });
      certified.resolve(true);
    } catch (err) {
      logger.error({ err }, 'certificate cannot be served; the one before stays');
    }
  };
  return {
    start: async () => {
      stopListening = certificate.onChange(serve);
      serve(certificate.current());
      if (!(await certified.promise) || stopping) return undefined;
      server.listen(options.port, options.host);
      await once(server, 'listening');
      sweeping = sweep(load, clock);
      return (server.address() as AddressInfo).port;
    },
    listening: () => server.listening,
    load: () => ({ reviews: load.reading.reviews + load.waiting.reviews, connections: connections.size }),
    stopping: () => stopping,
    drain: async (drainMs, noticeMs = limits.GOAWAY_NOTICE_MS) => {
      stopping = true;
      stopListening();
      certified.resolve(false);
      if (!server.listening) return;
      await clock.sleep(drainMs);
      connections.announceEnd();
      await clock.sleep(noticeMs);
      await close(server, connections);
      clearInterval(sweeping);
    },
  };
}

/** Those of http.Server that http2 hands on to its HTTP/1.1 side are not in its types. */
const SERVER_OPTIONS: SecureServerOptions & Readonly<Record<string, unknown>> = {
  allowHTTP1: true,
  noDelay: true,
  handshakeTimeout: limits.HANDSHAKE_MS,
  maxHeaderSize: limits.MAX_HEADER_BYTES,
  headersTimeout: limits.HEADERS_MS,
  requestTimeout: limits.REQUEST_MS,
  connectionsCheckingInterval: limits.SWEEP_MS,
  keepAliveTimeout: limits.IDLE_MS,
  maxSessionMemory: limits.SESSION_MEMORY_MB,
  settings: {
    enablePush: false,
    maxConcurrentStreams: limits.MAX_STREAMS,
    maxHeaderListSize: limits.MAX_HEADER_BYTES,
    initialWindowSize: limits.STREAM_WINDOW_BYTES,
  },
};

function onCalls(
  server: Http2SecureServer,
  connections: Connections,
  onCall: (call: Call) => void,
  stopping: () => boolean,
): void {
  const http1 = (req: IncomingMessage, res: ServerResponse): void => {
    onCall(http1Call(req, res, connections.begin(res, req.socket), stopping));
  };
  // A listener to requests makes http2 put a compatibility layer between itself and us, which hears of streams: it would answer those, too,
  // and half as fast.
  server.on('request', http1 as unknown as (req: Http2ServerRequest, res: Http2ServerResponse) => void);
  server.removeAllListeners('stream');
  server.on('stream', (opened, headers) => {
    // As a server has it; the types of the secure one know only what both sides share.
    const stream = opened as ServerHttp2Stream;
    // Nobody hears of the errors of a stream that is refused before anything of it is read.
    stream.on('error', ignoreError);
    // Reset in the same breath in which it was opened.
    if (stream.destroyed || stream.closed || stream.session === undefined) return;
    if (headers['expect'] === '100-continue') stream.additionalHeaders({ ':status': 100 });
    onCall(http2Call(stream, headers, connections.begin(stream, stream.session as ServerHttp2Session)));
  });
}

function sweep(loads: Loads, clock: Clock): NodeJS.Timeout {
  return setInterval(() => {
    const now = clock.monotonic();
    for (const load of Object.values(loads)) load.sweep(now);
  }, limits.SWEEP_MS).unref();
}

/** Ends idle connections at once, the others after their answers, and whoever does not end by then. */
async function close(server: Http2SecureServer, connections: Connections): Promise<void> {
  const closed = once(server, 'close');
  server.close();
  const limit = setTimeout(() => connections.cut(), limits.CLOSE_LIMIT_MS);
  await closed;
  clearTimeout(limit);
}
