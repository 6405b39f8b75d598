// SPDX-License-Identifier: Apache-2.0
import type { EventEmitter } from 'node:events';
import { constants } from 'node:http2';
import type { Http2SecureServer, ServerHttp2Session } from 'node:http2';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Random } from '#base/random.ts';
import { statusBody } from './answer.ts';
import { webhookError } from '../errors.ts';
import type { WebhookError } from '../errors.ts';
import { GOAWAY_NOTICE_MS, MAX_CONNECTIONS, MAX_CONNECTION_AGE_MS, RETIRE_LIMIT_MS, WINDOW_BYTES } from './limits.ts';

/** Largest stream id: a GOAWAY that names it refuses nothing that is on its way yet (RFC 9113 §6.8). */
const EVERY_STREAM = 2 ** 31 - 1;
/** Connections end within this part of their age of each other, so that they do not all come back at once. */
const AGE_SPREAD = 0.2;

/** One TCP connection. */
export interface Connection {
  /** Where it comes from: what many have of the server is shared out by that first. '': it has ended meanwhile. */
  readonly address: string;
  /** Calls that have not ended. */
  open: number;
  /** A call has ended on it, so there is somebody who speaks HTTP. */
  isKnown: boolean;
  /** When it was opened, or a call ended on it last: a number that grows with each. */
  lastUse: number;
}

/** The open connections of a server, and how each kind is ended. */
export class Connections {
  readonly #sockets = new Map<Connection, Socket>();
  readonly #byPeer = new Map<string, Connection>();
  readonly #sessions = new Map<ServerHttp2Session, Connection>();
  readonly #random: Random;
  readonly #maxAgeMs: number;
  #uses = 0;

  constructor(random: Random, maxAgeMs = MAX_CONNECTION_AGE_MS) {
    this.#random = random;
    this.#maxAgeMs = maxAgeMs;
  }

  /** Counts and looks after all connections that `server` accepts from now on. */
  watch(server: Http2SecureServer): void {
    server.on('connection', (socket: Socket) => {
      const connection = this.#unused(socket.remoteAddress);
      const peer = peerOf(socket);
      this.#sockets.set(connection, socket);
      this.#byPeer.set(peer, connection);
      socket.once('close', () => {
        this.#sockets.delete(connection);
        if (this.#byPeer.get(peer) === connection) this.#byPeer.delete(peer);
      });
      if (this.#sockets.size > MAX_CONNECTIONS) this.#evict(connection);
    });
    server.on('session', (session) => this.#keep(session));
    // Told by the session itself, too; without a listener each would be an error of the process.
    server.on('sessionError', () => {});
    // Node's types know it without its argument: an HTTP/2 session, or the socket of an HTTP/1.1 connection.
    server.on('timeout', ((idle: ServerHttp2Session | Socket) => {
      if ('goaway' in idle) retire(idle);
      else idle.destroy();
    }) as () => void);
    server.on(
      'clientError' as 'error',
      ((err: NodeJS.ErrnoException, socket: Duplex) => {
        refuse(err, socket);
      }) as unknown as (err: Error) => void,
    );
  }

  /** That of a call that begins. `call` emits `close` when it ends. */
  begin(call: EventEmitter, by: ServerHttp2Session | Socket): Connection {
    const known = 'goaway' in by ? this.#sessions.get(by) : this.#byPeer.get(peerOf(by));
    // Closed meanwhile.
    const connection = known ?? this.#unused();
    connection.open += 1;
    call.once('close', () => {
      connection.open -= 1;
      connection.isKnown = true;
      connection.lastUse = this.#uses += 1;
    });
    return connection;
  }

  get size(): number {
    return this.#sockets.size;
  }

  /** Tells HTTP/2 clients that their connection will end: what they send until they hear of it is still answered. */
  announceEnd(): void {
    for (const session of this.#sessions.keys()) announce(session);
  }

  /** Ends what is left, answered or not. */
  cut(): void {
    for (const socket of this.#sockets.values()) socket.destroy();
  }

  /**
   * Makes room for `newest` among those of the address that has most, so that whoever fills the server shuts out nobody elsewhere. Strangers
   * go first, then who has had nothing to say for longest; who is in the middle of it goes for another address only.
   */
  #evict(newest: Connection): void {
    const crowd = this.#crowd();
    const others = crowd.filter((one) => one !== newest).toSorted((one, other) => one.lastUse - other.lastUse);
    const goes =
      others.find((one) => !one.isKnown && one.open === 0) ??
      others.find((one) => !one.isKnown) ??
      others.find((one) => one.open === 0) ??
      (crowd.includes(newest) ? newest : others[0]) ??
      newest;
    this.#sockets.get(goes)?.destroy();
    // Its end is told later; it has gone for whoever counts.
    this.#sockets.delete(goes);
  }

  /** Those of the address that has most, or of several that have the same. */
  #crowd(): Connection[] {
    const addresses = [...Map.groupBy(this.#sockets.keys(), ({ address }) => address).values()];
    const most = Math.max(...addresses.map(({ length }) => length));
    return addresses.filter(({ length }) => length === most).flat();
  }

  #unused(address = ''): Connection {
    this.#uses += 1;
    return { address, open: 0, isKnown: false, lastUse: this.#uses };
  }

  #keep(session: ServerHttp2Session): void {
    this.#sessions.set(session, this.#byPeer.get(peerOf(session.socket)) ?? this.#unused());
    session.on('error', () => {});
    session.setLocalWindowSize(WINDOW_BYTES);
    const age = this.#maxAgeMs * (1 - AGE_SPREAD * this.#random.fraction());
    const timer = setTimeout(() => retire(session), age).unref();
    session.once('close', () => {
      clearTimeout(timer);
      this.#sessions.delete(session);
    });
  }
}

function announce(session: ServerHttp2Session): void {
  if (!session.destroyed && !session.closed) session.goaway(constants.NGHTTP2_NO_ERROR, EVERY_STREAM);
}

/** In order: the notice, then, when it must have been heard, the end after what is under way. */
function retire(session: ServerHttp2Session): void {
  announce(session);
  setTimeout(() => {
    session.close();
    // That waits for streams which a client may hold open for ever.
    const limit = setTimeout(() => session.destroy(), RETIRE_LIMIT_MS).unref();
    session.once('close', () => clearTimeout(limit));
  }, GOAWAY_NOTICE_MS).unref();
}

/** The same for a connection and for the TLS upon it. */
function peerOf({ remoteAddress, remotePort }: Pick<Socket, 'remoteAddress' | 'remotePort'>): string {
  return `${remoteAddress} ${remotePort}`;
}

/** What is no HTTP/1.1, or comes too slowly, or no TLS at all. */
function refuse(err: NodeJS.ErrnoException, socket: Duplex): void {
  const error = problemOf(err.code ?? '');
  if (error === undefined || !socket.writable) {
    socket.destroy();
    return;
  }
  const body = statusBody(error);
  const head = [
    `HTTP/1.1 ${error.status} ${error.reason}`,
    'content-type: application/json',
    `content-length: ${body.length}`,
    'connection: close',
  ];
  socket.end(Buffer.concat([Buffer.from(`${head.join('\r\n')}\r\n\r\n`), body]), () => socket.destroy());
}

/** Undefined: there is nobody to tell, as the connection broke, or was never one of HTTP. */
function problemOf(code: string): WebhookError | undefined {
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return webhookError('too-slow', 'the request did not arrive in time');
  if (code === 'HPE_HEADER_OVERFLOW') return webhookError('headers-too-large', 'the headers are too large');
  return code.startsWith('HPE_') ? webhookError('malformed', 'the request is not well-formed HTTP/1.1') : undefined;
}
