// SPDX-License-Identifier: Apache-2.0
// The quota: what hooks ask before and tell after the real driver. Every call may be made by any thread at any time, also
// in a child after fork (it starts with nothing and registers by itself). Every wait ends after LEDGER_PATIENCE_MS, in denial.
//
// Order in a hook that allocates:   ledger_reserve -> real call -> map_insert        (failed call: ledger_release)
// Order in a hook that frees:       map_remove -> real call -> ledger_release        (failed call: map_restore)
#ifndef PENSTOCK_VRAM_LEDGER_H
#define PENSTOCK_VRAM_LEDGER_H

#include <stdint.h>

/** Longest wait for a lock that a stopped neighbour (or thread) holds. */
#define LEDGER_PATIENCE_MS 10000

/**
 * The directory to look for the session in (`DIR/control`, then `DIR/../region/control`), without a slash at its end:
 * where the preloaded object lies. Supplied by whoever links the core (vram/elf.c; the test shell takes an argument).
 * Returns 0; -1 when it cannot tell: then there is no session; SELF_MOVED when it can only guess (a relative name, and the program
 * has changed its folder): then nothing found there is no proof that there is no session.
 */
#define SELF_MOVED 2
int self_directory(char *path, uint64_t size);

enum ledger_mode {
  LEDGER_OFF = 1,   // no session here: pass everything through
  LEDGER_ON = 2,    // a quota holds
  LEDGER_BROKEN = 3 // a session that cannot be used: deny everything (fail closed)
};

/** The mode once it is known, else 0. One load; use ledger_active(). */
extern uint32_t ledger_mode __attribute__((visibility("hidden")));
int ledger_open(void); // finds the session, once; returns the mode

/** 0: there is no quota, call the driver and do nothing else. */
static inline int ledger_active(void) {
  uint32_t mode = __atomic_load_n(&ledger_mode, __ATOMIC_ACQUIRE);
  if (__builtin_expect(mode == LEDGER_OFF, 1)) return 0;
  return mode ? 1 : ledger_open() != LEDGER_OFF;
}

/** What ledger_device() answers besides an index. */
enum { LEDGER_UNLISTED = -1 /* deny */, LEDGER_FREE = -2 /* not ours: pass through */, LEDGER_LATER = -3 /* deny, and ask again */ };

/**
 * The index under which a GPU is charged: by UUID, else by its ordinal among the devices that the process sees; uuid may be
 * NULL when the driver gave none. Walks the control page: hooks keep the answer per CUdevice.
 */
int ledger_device(const uint8_t uuid[16], int ordinal);

/** 0: granted, 1: over quota (or the ledger cannot be used): answer the out-of-memory code. 0 bytes are always granted. */
int ledger_reserve(int device, uint64_t bytes);
/** The same for a caller that knows more to try: a refusal is not counted as a denial. */
int ledger_try(int device, uint64_t bytes);
/** Gives back what ledger_reserve() granted: after the real free, or after a real call that failed. */
void ledger_release(int device, uint64_t bytes);

/** Bytes lent to the session on that GPU (UINT64_MAX: no limit) and bytes in use by all its processes; used <= limit. */
void ledger_report(int device, uint64_t *limit, uint64_t *used);
/** Flags of the control page (CONTROL_FLAG_*); 0 when there is none. */
uint32_t ledger_flags(void);

/** Counts what no quota covers (UNACCOUNTED_*): `bytes` may be 0 when the size is not known. */
void ledger_unaccounted(int device, int kind, uint64_t bytes);

/**
 * Registers the process now rather than at its first reservation (a hook of context creation may). 0: it has a slot.
 * 1: it has none, all reservations will be denied.
 */
int ledger_register(void);

#endif
