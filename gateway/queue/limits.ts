// SPDX-License-Identifier: Apache-2.0
/** Bounds of the lease queue, one place for both drivers (Lua gets them interpolated). Times in milliseconds. */

/** Requests of one enqueue call. More would block Redis for longer than a lease renewal can bear. */
export const MAX_ENQUEUE = 1_000;

/** Requests that one script run takes; a longer enqueue is cut into several runs. */
export const ENQUEUE_CHUNK = 64;

/** Leases, extensions or completions of one call: no unit runs more side by side, and 256 answers with 16 KiB bodies are 4 MiB. */
export const MAX_BATCH = 256;

/**
 * Leases or completions at which a script run that several calls share is full: enough to share its cost, few enough that of some thirty
 * in flight Redis works on one half while this process makes the other.
 */
export const RUN_WEIGHT = 16;

/** Outcomes that one script run reads for all who ask in a turn: with results of 16 KiB each a megabyte. */
export const OUTCOMES_WEIGHT = 64;

/** Requests whose deadline passed that one lease call clears away before it gives up and is woken again. */
export const LEASE_EXPIRY_BUDGET = 256;

/** Overdue leases ended in passing by lease, retire and purge: normally none, so the bound only shapes a mass loss. */
export const OVERDUE_STEP = 64;

/** Items of each kind that one expire step of one app ends. */
export const EXPIRE_STEP = 256;

/** Requests of a revision without units that one lease call moves to the current one; expire moves EXPIRE_STEP. */
export const REKEY_STEP = 64;

/** Ended attempts kept in a record; releases are not budgeted, so the timeline needs a bound of its own. The newest stay. */
export const MAX_ATTEMPTS_KEPT = 32;

/** Length of a cause's message. */
export const MAX_MESSAGE_CHARS = 2_048;

/** A unit unseen for so long that holds nothing is gone: far above the 30 s within which a waiting one asks again, and above any lease. */
export const UNIT_SILENT_MS = 15 * 60_000;

/** A unit that holds leases yet was not seen is looked at again after this; its leases run out first. */
export const UNIT_RECHECK_MS = 60_000;

/** How long a retired unit is remembered, so that a late call of it is still refused: longer than its unit token lives (7 days). */
export const RETIRED_MEMORY_MS = (7 * 24 + 1) * 3_600_000;

/** How long a retired unit is still told of by demand: until its process has ended, and no longer, as most units are long gone. */
export const RETIRED_SHOWN_MS = 3_600_000;

/** How long a purged app stays closed: covers every gateway that has not heard of its deletion yet. */
export const TOMBSTONE_MS = 7 * 24 * 3_600_000;

/** An object noted for an attempt is not judged earlier: its upload URL may still be used. */
export const OBJECT_GRACE_MS = 3_600_000;

/** An object key that was answered by a sweep and not acknowledged comes again after this. */
export const REOFFER_MS = 60_000;

/** Finished records that one sweep call removes, whatever number of object keys they yield. */
export const SWEEP_RECORDS = 2_048;

/** The same for the embedded driver, whose steps hold the process: some ten milliseconds. */
export const EMBEDDED_SWEEP_RECORDS = 512;

/** Longest lease: more would outlast UNIT_SILENT_MS. */
export const MAX_LEASE_MS = 10 * 60_000;

export const PRIORITY_LIMIT = 1_000;

/** Deadlines lie below 2^42 ms (May 2109): together with 2 001 priorities they fit the 53 exact bits of a double. */
export const DEADLINE_LIMIT = 2 ** 42 - 1;

/** What the timeline says of an attempt whose lease ran out. */
export const LOST_MESSAGE = 'the unit did not extend its lease in time';

/** What it says of one whose result came after a cancel. */
export const CANCELLED_MESSAGE = 'the request was cancelled while it ran';

/** Weight of a tenant: three decimal orders are more than any house distinguishes. */
export const WEIGHT_LIMIT = 1_000;

/** What a request of which nothing is known is charged, in µGPU-seconds: corrected when it ends. */
export const ASSUMED_COST_MICROS = 1_000_000;

/** Most that a client may announce for one request: 10 000 GPU-hours. More would bring virtual times near 2^53. */
export const COST_LIMIT_MICROS = 36_000_000_000_000;

/** How long the oldest batch request waits behind online work before both lanes share. */
export const STARVATION_GRACE_MS = 300_000;

/** While lanes share: online gets four parts of GPU time, batch one. */
export const LANE_WEIGHTS = { online: 4, batch: 1 } as const;

/** How long a dead letter is kept at least, whatever the retention of its app: a fortnight for people to look at it. */
export const DEAD_LETTER_RETENTION_MS = 14 * 24 * 3_600_000;

/** How long a suspect waits for a unit that happens to be empty; then one unit is given nothing else until it is. */
export const SUSPECT_PATIENCE_MS = 10_000;

/** Suspects of one lane that one lease call looks at in search of one whose tenant is below its cap: a millisecond at most. */
export const SUSPECT_SCAN = 1_024;

/** So many of them at first: most often one of these may go. */
export const SUSPECT_PAGE = 64;

/** A unit that is kept empty for a suspect, yet has not been seen for so long, makes room for another one. */
export const DRAIN_SILENT_MS = 60_000;

/** One GPU in the millionths of `fractionMicros`. */
export const WHOLE_GPU = 1_000_000;

/** Most GPUs of one lease, in millionths: far above any machine. */
export const FRACTION_LIMIT = 1_000 * WHOLE_GPU;

/** A lane whose virtual time has passed this is brought down again: years of a thousand GPUs without an idle moment. */
export const RENORMALISE_ABOVE = 2 ** 50;

/** No finish tag goes beyond: integers stay exact, and only measured times that no clock gives come near. */
export const TAG_LIMIT = 2 ** 52;

/** Credentials that are refused before their end: ten for each unit of the largest app, and a reply of half a megabyte. */
export const REVOCATIONS_MAX = 10_000;

/** An ended revocation is kept this much longer: clocks of replicas may differ. */
export const REVOCATION_TRIM_MS = 5 * 60_000;
