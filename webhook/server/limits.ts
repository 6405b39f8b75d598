// SPDX-License-Identifier: Apache-2.0
// Bounds of the admission port, each with its reason. Its only proper client is the API server; anything in the cluster network can connect.

/** Body of one review: what controller-runtime takes. The API server's own limit for an object is 3 MiB, and an update carries two. */
export const MAX_BODY_BYTES = 7 * 1024 * 1024;
/** Bodies that are being received, all together: four of the largest, or some thousand ordinary pods. */
export const MAX_BUFFERED_BYTES = 32 * 1024 * 1024;
/** What a piece of a body takes beside its bytes: one that is sent byte by byte takes hundreds of times its size. */
export const CHUNK_COST_BYTES = 512;
/** Deepest nesting of a review: the API server's own schemas end far above. */
export const MAX_JSON_DEPTH = 512;
/** Objects and arrays in one review: some 16 MiB once parsed; a list of empty arrays would take twenty times its size. */
export const MAX_JSON_CONTAINERS = 250_000;
/** What an object or array takes beside what is in it. */
export const CONTAINER_COST_BYTES = 64;
/** What a byte of numbers and short texts takes once parsed: six of them at worst. */
export const PARSED_BYTES = 6;
/** Reviews that are being received, over all connections. Most are handled in the moment in which their body is there: more is an attack. */
export const MAX_IN_FLIGHT = 512;
/** Reviews whose handler waits for somebody, as those of apps do for the API server; a hundred a second each have half a second. */
export const MAX_WAITING = 64;
/** What those take once parsed: the largest one that is allowed, or a few thousand ordinary ones. */
export const MAX_WAITING_BYTES = 64 * 1024 * 1024;
/** Calls that were answered and have not ended yet, since their client does not read: as many as may be received. */
export const MAX_ANSWERED = 512;
/** Answers that those have not read. */
export const MAX_ANSWERED_BYTES = 16 * 1024 * 1024;
/** Reviews at once on one HTTP/2 connection; the API server opens a second one for more. */
export const MAX_STREAMS = 256;
/** Connections: an API server has a few (HTTP/2), and there are a handful of API servers. For one more, one that is idle has to go. */
export const MAX_CONNECTIONS = 128;
/** Request line and headers; the API server sends 300 bytes. */
export const MAX_HEADER_BYTES = 4 * 1024;

/** A TLS handshake that takes longer is nobody's who means it. */
export const HANDSHAKE_MS = 5_000;
/** Time for the headers of an HTTP/1.1 request, from the connection on: ends slow-header attacks. */
export const HEADERS_MS = 5_000;
/** Time for a whole HTTP/1.1 request: above the deadline of any review, which ends it first with a better answer. */
export const REQUEST_MS = 35_000;
/** Time for the body of a review, whatever time its client states for the whole: the API server sends it together with the headers. */
export const BODY_MS = 2_000;
/** Time to take an answer. */
export const ANSWER_MS = 3_000;
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
/** The same for a connection that ends while the server goes on: no review takes longer. */
export const RETIRE_LIMIT_MS = 30_000;
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
/** What Node holds for one HTTP/2 connection, MB: as many answers as it may have streams, with patches. New streams are refused beyond it. */
export const SESSION_MEMORY_MB = 4;
