// SPDX-License-Identifier: Apache-2.0
// What the files of the core share. Hooks include ledger.h and map.h only.
//
// Three kinds of memory:
//   control  read-only file; trusted. A child after fork keeps the mapping.
//   ledger   file that every process of the session writes. HOSTILE: each value is bounded before it is used, nothing in it is
//            ever a pointer, an index without a check, or the end of a loop. Not inherited by fork (MADV_DONTFORK).
//   arena    this process's own state. A child after fork finds it zeroed (MADV_WIPEONFORK): it has no slot, no pointers, and
//            no lock in it is held, however the fork was made (raw clone included) and wherever other threads stood.
#ifndef PENSTOCK_VRAM_CORE_H
#define PENSTOCK_VRAM_CORE_H

#include "vram/layout.gen.h"
#include "vram/map.h"
#include "vram/sys.h"

#define HIDDEN __attribute__((visibility("hidden")))

/** Bits of a set of slots. */
#define SLOT_WORDS (SLOTS / 64)
#define SHARDS 64
/** Stands for "no limit": sums of it do not overflow what a cell can hold. */
#define AMPLE (UINT64_C(1) << 62)
#define MILLISECOND UINT64_C(1000000)
#define PATH_BYTES 4096

/** Whole pages, since the kernel wipes pages: AArch64 kernels have pages of up to 64 KiB. */
#if defined(__aarch64__)
#define ARENA_ALIGNMENT 65536
#else
#define ARENA_ALIGNMENT 4096
#endif

struct shard {
  uint32_t lock;
  int32_t spare; // places that may still be filled before the table has to grow; below 0 where each entry found its own place empty
  /** Bytes that the shard may hold, and how many of them it does not hold yet. The sum of the former is the limit at most. */
  struct { uint64_t cap, left; } account[DEVICES];
} __attribute__((aligned(64)));

struct keeper {
  uint32_t asked;    // futex: goes up with each errand
  uint32_t answered; // futex: the errand that was done last
  int32_t result;    // 0, or why registering failed (enum refusal)
  int32_t slot;
  struct ledger *ledger;
  long lock_fd, probe_fd; // in the keeper's own descriptor table; -1: none
  uint64_t wanted[SLOT_WORDS], dead[SLOT_WORDS];
  struct slot_identity who; // what goes into the slot's identity line
};

enum refusal { REFUSED_NOT = 0, REFUSED_OPEN, REFUSED_LEDGER, REFUSED_LOCK, REFUSED_FULL, REFUSED_MEMORY, REFUSED_WAIT };

struct arena {
  // What the fast path reads; written once per registration and per change of the control page.
  uint64_t gate;                    // state and epoch of the control page under which `cells` may be used
  uint64_t hot;                     // `table`; 0: none yet, or every call must look whose arena it is first (arena_unwiped)
  struct slot_cell *cells[DEVICES]; // own lines; NULL: slow path
  uint8_t gap[64 + 48];
  // The slow path's own, under `turn`.
  uint32_t turn; // futex: one thread of this process at a time
  uint32_t registered;
  uint32_t pid; // whose arena this is, where the kernel does not wipe it
  uint32_t slot;
  uint32_t generation;
  uint32_t bare;  // there is a keeper thread
  uint32_t stuck; // the last wait for the ledger's lock ran out
  uint64_t table; // of the map (map_table.h): changed with all shards locked
  uint32_t dealt; // shards of the map have got shares of a limit
  struct ledger *ledger;
  const struct ledger *view; // read-only mapping of a process without a slot
  uint64_t own_lease[DEVICES]; // upper bound of our lease as we last knew it: neighbours only lower it
  uint64_t looked; // cpu_ticks() of the last look for dead neighbours
  uint64_t view_dead[SLOT_WORDS];
  struct keeper keeper;
  struct shard shards[SHARDS];
} __attribute__((aligned(ARENA_ALIGNMENT)));


/* ---- region.c ---- */

/** The control page, or NULL before ledger_open() found one. */
extern const struct control *ledger_control HIDDEN;
/** Static, so that the fast path reaches it without a pointer. Use arena_get() unless the call only matters once it was used. */
extern struct arena ledger_arena HIDDEN;
/** 1: the kernel does not know MADV_WIPEONFORK: nothing is kept in `cells`, `arena_ready` stays 2, each call compares process numbers. */
extern uint32_t arena_unwiped HIDDEN;

extern uint32_t arena_ready HIDDEN;
HIDDEN void arena_prepare(void);
static inline struct arena *arena_get(void) {
  if (unlikely(load_acquire(&arena_ready) != 1)) arena_prepare();
  return &ledger_arena;
}
HIDDEN const char *ledger_path(void);
HIDDEN void ledger_complain(const char *why);
/** What it says where the next call may find more. */
extern const char ledger_short[] HIDDEN;
/** Device entries in use and their limit, bounded. */
HIDDEN uint32_t control_devices(void);
HIDDEN uint64_t control_limit(int device);
HIDDEN uint64_t control_chunk(int device);
/** 0: a regular file of at least `size` bytes. */
HIDDEN int file_is(long fd, uint64_t size);
/** 1: the file is this session's ledger, in this version's layout. */
HIDDEN int ledger_is_ours(const struct ledger *ledger);
/** 1: it is the head of some session's ledger, in this version's layout. */
HIDDEN int ledger_is_whole(const struct ledger_header *header);
/** to = directory + name; 0, or 1 when it does not fit. */
HIDDEN int path_join(char to[PATH_BYTES], const char *directory, const char *name);
/** 1: nothing is there, not even a link to nowhere. */
HIDDEN int path_is_free(const char *path);
static inline int is_missing(long error) { return error == -E_NOENT || error == -E_NOTDIR; }
/** Out of descriptors or memory: another moment it works. */
static inline int is_scarce(long error) { return error == -E_MFILE || error == -E_NFILE || error == -E_NOMEM; }

typedef uint64_t __attribute__((may_alias)) aliased_u64;
_Static_assert(offsetof(struct control, state) % 8 == 0, "one load");
_Static_assert(offsetof(struct control, epoch) == offsetof(struct control, state) + 4, "one load");
/** State and epoch together: the state in the low half (little endian). */
static inline uint64_t control_gate(const struct control *control) {
  return load_acquire((const aliased_u64 *)&control->state);
}
static inline int gate_open(uint64_t gate) { return (uint32_t)gate == CONTROL_STATE_ACTIVE; }

/* ---- quota.c ---- */

enum quota { QUOTA_NONE, QUOTA_MADE, QUOTA_LATER, QUOTA_REFUSED };
/** Where there is `directory`/../quota/limit, sees to it that `directory`/../region is made from it. QUOTA_REFUSED: *why says what is wrong. */
HIDDEN enum quota quota_make_region(const char *directory, const char **why);

/* ---- card.c ---- */

/** The index that a GPU has in a region whose entries name none; LEDGER_UNLISTED, LEDGER_LATER. */
HIDDEN int card_index(const uint8_t uuid[16]);

/* ---- keeper.c ---- */

/** Takes a slot: its liveness lock, and the ledger mapped. An enum refusal. Under `turn`. */
HIDDEN int keeper_claim(struct arena *arena);
/** Which of `wanted` have no living process. A slot whose state cannot be told is not among `dead`. */
HIDDEN void keeper_probe(struct arena *arena, const uint64_t wanted[SLOT_WORDS], uint64_t dead[SLOT_WORDS]);
/** The same by a descriptor of the moment, for a process that has no slot. */
HIDDEN void probe_once(const uint64_t wanted[SLOT_WORDS], uint64_t dead[SLOT_WORDS]);

/* ---- lock.c ---- */

/** Signals blocked and this process's turn taken. 0, or 1 when it did not come in time. */
HIDDEN int turn_take(struct arena *arena, uint64_t *signals);
HIDDEN void turn_give(struct arena *arena, uint64_t signals);
/** The right to change leases. 0, or 1 when it could not be had in time. Under `turn`. */
HIDDEN int ledger_lock(struct arena *arena);
HIDDEN void ledger_unlock(struct arena *arena);

/* ---- slot.c: all under the ledger's lock ---- */

HIDDEN uint32_t ledger_top(const struct ledger *ledger);
/** Takes the idle credit of a slot back: bytes that left its lease. */
HIDDEN uint64_t slot_seize(struct arena *arena, uint32_t slot, int device);
/** Finishes or forgets the seizure that a dead holder of the lock began. */
HIDDEN void journal_finish(struct ledger *ledger);
/** Ends the leases of slots that hold something and have no process. How many slots. */
HIDDEN uint32_t slots_reap(struct arena *arena);
HIDDEN void slot_enter(struct arena *arena);
/** Limit less all leases; never more than the limit whatever the ledger says. */
HIDDEN uint64_t pool_left(const struct ledger *ledger, int device, uint64_t limit);

/* ---- ledger.c ---- */

/** Registers, with `turn` held: 0 or 1. */
HIDDEN int register_here(struct arena *arena);

/* ---- map_shard.c ---- */

/** The limits changed: the next insertions ask again what they may hold. */
HIDDEN void map_recap(struct arena *arena);

#endif
