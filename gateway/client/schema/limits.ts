// SPDX-License-Identifier: Apache-2.0
// Bounds of the body checks, each with its reason. What runs in a validator thread is a stranger's schema on a stranger's body.

/** Longest compilation of one schema: 64 KiB take some 100 ms, a hostile one takes for ever. */
export const LOAD_LIMIT_MS = 5_000;
/** Longest check of one body: 8 MiB take some 200 ms, a catastrophic `pattern` takes for ever. */
export const CHECK_LIMIT_MS = 3_000;
/** Longest start of a thread: far above what a starved machine needs. */
export const START_LIMIT_MS = 30_000;
/** A schema that compiles slower stays with those that are not trusted yet. */
export const SWIFT_LOAD_MS = 500;
/** After an overrun an app's bodies are checked beside other suspects' for this long. */
export const PENALTY_MS = 600_000;
/** A schema that could not be compiled in time is tried again after this; one that is wrong stays wrong. */
export const RETRY_LOAD_MS = 60_000;

/** Schemas that a thread keeps compiled: at most 64 KiB of source each, some MiB of code in all for real ones. */
export const LOADED_MAX = 256;
/** Schemas of which is remembered that they are unusable, trusted or suspect. */
export const REMEMBERED_MAX = 10_000;
/** Heap of one thread: an 8 MiB body of empty lists becomes some 200 MiB of objects. */
export const THREAD_HEAP_MB = 512;

/** Bodies of one message, and their length: enough to share its cost, few enough to be repeated when one of them hangs. */
export const CHECK_BATCH = 64;
export const CHECK_BATCH_CHARS = 1024 * 1024;
/** Bodies that wait for one thread; the next one gets 503. A thread does some 20 000 small ones per second. */
export const WAITING_MAX = 4_000;
/** Of which of one schema: one app's hanging bodies must not take every place. */
export const WAITING_PER_SCHEMA = 2_000;
/** Bytes of bodies that are held for their check, in all. */
export const HELD_BYTES_MAX = 256 * 1024 * 1024;

/** Longest body that is checked without a thread, where its schema is plain: some 50 µs at worst. */
export const PLAIN_MAX_CHARS = 16 * 1024;
