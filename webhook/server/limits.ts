// SPDX-License-Identifier: Apache-2.0
// Bounds of the admission port, each with its reason. Its only proper client is the API server; anything in the cluster network can connect.

/** Body of one review: what controller-runtime takes. The API server's own limit for an object is 3 MiB, and an update carries two. */
export const MAX_BODY_BYTES = 7 * 1024 * 1024;
/** Bodies that are being received, all together: nine of the largest, or sixteen thousand ordinary pods. */
export const MAX_BUFFERED_BYTES = 64 * 1024 * 1024;
/** Bodies above this are looked over before they are parsed: what a smaller one can grow to in memory does not matter. */
export const SCAN_BYTES = 64 * 1024;
/** Deepest nesting of a review: the API server's own schemas end far above. */
export const MAX_JSON_DEPTH = 512;
/** Objects and arrays in one review: some 30 MiB once parsed; a list of empty arrays would take twenty times its size. */
export const MAX_JSON_CONTAINERS = 500_000;
/** Reviews received or handled at once, over all connections. Handlers take some 50 µs each: more than this is no queue, it is an attack. */
export const MAX_IN_FLIGHT = 512;
/** Reviews at once on one HTTP/2 connection; the API server opens a second one for more. */
export const MAX_STREAMS = 256;
/** Connections: an API server has one (HTTP/2) or some dozens (HTTP/1.1), and there are a handful of API servers. */
export const MAX_CONNECTIONS = 512;
/** Request line and headers; Node's own default, the API server sends 300 bytes. */
export const MAX_HEADER_BYTES = 16 * 1024;

/** A TLS handshake that takes longer is nobody's who means it. */
export const HANDSHAKE_MS = 5_000;
/** Time for the headers of an HTTP/1.1 request, from the connection on: ends slow-header attacks. */
export const HEADERS_MS = 5_000;
/** Time for a whole HTTP/1.1 request: above the deadline of any review, which ends it first with a better answer. */
export const REQUEST_MS = 35_000;
/** How often connections and reviews past their time are looked for: the most by which a deadline is overrun. */
export const SWEEP_MS = 100;
/** A connection on which nothing moves: above the 90 s after which the API server closes it itself, so that ours never closes under a review. */
export const IDLE_MS = 120_000;
/** An HTTP/2 connection is asked to end after this long, so that the load of an API server moves between replicas. */
export const MAX_CONNECTION_AGE_MS = 15 * 60_000;

/** The API server's default when it states no time. */
export const DEFAULT_TIMEOUT_MS = 10_000;
/** Longest time that a webhook configuration can state. */
export const MAX_TIMEOUT_MS = 30_000;
/** Our answer leaves this part of the stated time, at least {@link MARGIN_MS}, before the API server gives up: for its way. */
export const MARGIN_PART = 0.1;
/** Two sweeps and some: a review whose time is up is found, answered and heard in time. */
export const MARGIN_MS = 300;
/** Shortest deadline; whoever states a time of next to nothing gets an answer that is late. */
export const MIN_DEADLINE_MS = 50;

/** From the notice that an HTTP/2 connection will end to its end: reviews that were on the way when it was sent still arrive. */
export const GOAWAY_NOTICE_MS = 1_000;
/** After that, for reviews under way; what is left is cut. Drain, notice and this together stay below the 25 s of a shutdown. */
export const CLOSE_LIMIT_MS = 5_000;
/** How long a refused client may go on sending what nobody reads, so that it gets to see the answer. */
export const LINGER_MS = 1_000;

/** A warning, in bytes: the API server cuts there. */
export const MAX_WARNING_BYTES = 256;
/** All warnings of one answer, in bytes: the API server drops what is beyond. */
export const MAX_WARNINGS_BYTES = 4_096;
/** Longest uid of a review that is understood and sent back. */
export const MAX_UID_CHARS = 256;
/** Received and not yet taken on one HTTP/2 connection: a whole large review beside many small ones. A stream may have a part of it. */
export const WINDOW_BYTES = 8 * 1024 * 1024;
export const STREAM_WINDOW_BYTES = 1024 * 1024;
/** What Node holds for one HTTP/2 connection: headers and frames that were not handed on, MB; the windows are beyond it. */
export const SESSION_MEMORY_MB = 16;
