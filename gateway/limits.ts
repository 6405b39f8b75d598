// SPDX-License-Identifier: Apache-2.0
// Bounds of the gateway's two ports, each with its reason. What an app chooses (maxBytes, retention) is in its spec.

/** Headers of one request in bytes: Node's own default; tokens and trace headers fit many times over. */
export const MAX_HEADER_BYTES = 16 * 1024;
/** Time for the headers of a request: ends slow-header attacks, generous to any real network. */
export const HEADERS_TIMEOUT_MS = 15_000;
/** Time for a whole request, body included: 1 GiB at 4 MB/s. Both ports take large bodies (objects of the local store). */
export const REQUEST_TIMEOUT_MS = 300_000;
/** How often Node looks for connections past these times. */
export const TIMEOUT_CHECK_MS = 5_000;
/** A socket on which nothing moves for this long is closed: above the longest long-poll and the stream's heartbeat. */
export const IDLE_SOCKET_MS = 120_000;
/** Above the idle limit of common load balancers (60 s), so that they close first and never hit a closing connection. */
export const KEEP_ALIVE_MS = 75_000;

/** Longest `Prefer: wait`. */
export const CLIENT_WAIT_MAX_SECONDS = 60;
/** Covers wake-ups that were lost between replicas (DESIGN §3.8). */
export const RECHECK_MS = 5_000;
/** Clients that may wait at once; the next one gets its 202 without waiting. */
export const MAX_WAITING_CLIENTS = 20_000;
/** Connections of one port: every waiting client has one, and as many again may come and go. */
export const MAX_CONNECTIONS = 2 * MAX_WAITING_CLIENTS;
/** Requests stored by one call of the queue. */
export const ENQUEUE_BATCH_MAX = 128;

/** Longest credential looked at: far above any key or token, far below what hashing would notice. */
export const CREDENTIAL_MAX_CHARS = 8_192;
/** ServiceAccount tokens whose verdict is remembered: more than pods of a cluster call within a minute. */
export const TOKEN_CACHE_MAX = 10_000;
/** TokenReviews at once: the API server is everybody's; and how many tokens may wait for theirs. */
export const TOKEN_REVIEWS_MAX = 8;
export const TOKEN_REVIEWS_WAITING_MAX = 256;
/** A TokenReview that takes longer is an API server out of reach: the client may try again. */
export const TOKEN_REVIEW_MS = 5_000;
/** Tenants whose request rate is remembered: all of the largest document, and as many namespaces without an entry. */
export const RATE_BUCKETS_MAX = 20_000;
/** Tenants without an entry that are remembered, to be told of when the default policy changes; further ones hear of it with their next request. */
export const STRANGERS_MAX = 10_000;
/** Tenants with a label of their own in metrics: times their outcomes, what a monitoring system takes without complaint. */
export const TENANT_LABELS_MAX = 1_000;

/** What a refused client may still send before its connection is cut: it gets the time to read the answer. */
export const LINGER_BYTES = 1024 * 1024;
export const LINGER_MS = 1_000;
/** A refused body that is declared to be at most this long is read to its end, so that the connection can be kept. */
export const DISCARD_BYTES = 64 * 1024;

/** Longest Idempotency-Key or _rid. */
export const KEY_MAX_CHARS = 255;
/** Deepest nesting of a JSON body that is checked while it streams: a bound on memory, beyond any real document. */
export const JSON_DEPTH_MAX = 512;

/** A JSON body on the internal port: 1 MiB of inline results (COMPLETE_INLINE_MAX_BYTES) is 1.4 MiB in base64, the rest is room for 128 entries. */
export const INTERNAL_BODY_MAX_BYTES = 2 * 1024 * 1024;
/** A body beyond this, declared or not, needs room in the budget below before it is read; smaller ones are what most calls are. */
export const LARGE_BODY_BYTES = 128 * 1024;
/**
 * Large bodies of `complete` that are read and stored at the same time. One needs some four times its size (text, JSON, bytes, the
 * store's copy): 128 MiB of the 1 GiB that the deployment allows. The next ones wait unread in the units' sockets.
 */
export const LARGE_BODIES_BYTES = 32 * 1024 * 1024;
/** Time for a large body once it has its room: 70 KB/s; a slower unit would hold it from the others. */
export const LARGE_BODY_MS = 30_000;
/** Session tokens whose signature was checked before: more than units could ever be live. */
export const SESSION_CACHE_MAX = 10_000;
/** How old the list of revoked credentials may be when one is checked: how long another replica may still take a revoked one. */
export const REVOCATIONS_FRESH_MS = 1_000;
/** A revocation outlives its credential by this much: clocks of replicas differ, and some judge its end later than others. */
export const REVOCATION_MARGIN_SECONDS = 300;
/** How long a worker may use a URL for a body or a result: the longest attempt (24 h) must not outlive it. */
export const SIGNED_URL_MIN_SECONDS = 3_600;
/** Clocks of operator, gateway and workers may differ by this much. */
export const CLOCK_TOLERANCE_SECONDS = 30;

/** Wake-ups of one app within this time become one line of the stream. */
export const WAKE_COALESCE_MS = 20;
/** A reader of the wake-up stream that lets this much pile up is cut off; it comes back and reads the demand anew. */
export const STREAM_BACKLOG_BYTES = 256 * 1024;
export const MAX_WAKE_STREAMS = 64;

/** Work of one purge call: so long and so many records or objects; the operator calls again on 202. */
export const PURGE_CALL_MS = 2_000;
export const PURGE_STEP = 500;

/** How often queue and store are asked whether they are there, for /readyz. */
export const PING_INTERVAL_MS = 5_000;
/** How often connections that have just become idle are closed while the gateway stops. */
export const CLOSE_IDLE_MS = 20;
/** In-flight answers get this long when the gateway stops. */
export const STOP_LIMIT_MS = 10_000;
