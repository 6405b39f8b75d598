// SPDX-License-Identifier: Apache-2.0
// What the hook families share: which GPU a call is charged to, and the steps around the real call.
#pragma once
#include "driver.h"
#include "ledger.h"
#include "map.h"
#include "sys.h"

// Kinds of map entries (map.h: 1-63). Keys are unique per kind.
enum {
  KIND_LINEAR = 1,   // device address of cuMemAlloc, Pitch, Managed; owner: context, 0: not asked yet
  KIND_ARRAY = 2,    // CUarray; owner: context
  KIND_MIPMAP = 3,   // CUmipmappedArray; owner: context
  KIND_POOLED = 4,   // device address of a stream-ordered allocation, not charged by itself; owner: pool
  KIND_POOL = 5,     // owner number of a pool; bytes: what it holds
  KIND_PHYSICAL = 6, // number of an allocation of cuMemCreate; count: handles and mappings
  KIND_HANDLE = 7,   // its handle, not charged by itself; owner: that number
  KIND_MAPPING = 8,  // address that it is mapped at, not charged; owner: that number
  KIND_EXPORTED = 11, // by what it was exported as; owner: the number of the allocation
  KIND_OPENED = 10,  // device address of another process's memory: the exporter pays
  KIND_TILE = 9,     // part of a sparse array that it is mapped to, not charged; owner: that number
};

// Where a call allocates: the index that the ledger gave the GPU (or LEDGER_FREE, LEDGER_UNLISTED), and who owns what it allocates.
struct whose {
  int device;
  CUdevice ordinal;
  uint64_t owner;
};

// The calling thread's current context. 0 where there is none: the real call will say so.
int place_current(struct whose *out);
// Index of a device by its ordinal; LEDGER_UNLISTED also where the driver does not know it.
int device_index(CUdevice ordinal);
// Number of devices that the driver shows, 0 before cuInit.
int device_count(void);

// The owner number of a context, taken out so that a new context at the same address gets another. Linear memory that nobody owns yet and that
// lies in it gets that owner: it is not asked for at each allocation.
uint64_t context_forget(CUcontext context);
// Puts it back where the context did not end after all.
void context_restore(CUcontext context, uint64_t owner);

// Gives back; a device that is not charged has nothing.
static inline void release(int device, uint64_t bytes) {
  if (LIKELY(device >= 0)) ledger_release(device, bytes);
}

// A reservation around a real call that allocates.
struct charge {
  struct whose place;
  uint64_t bytes;
  int known; // a context was current
};

// CUDA_SUCCESS: go on with the real call. CUDA_ERROR_OUT_OF_MEMORY: over quota.
CUresult charge_begin(struct charge *c, uint64_t bytes);
CUresult charge_begin_at(struct charge *c, const struct whose *place, uint64_t bytes);
// After the real call: keeps the charge under that key, or gives it back where the call failed. `undo` frees the allocation where it cannot
// be kept. Returns what the hook answers.
CUresult charge_end(struct charge *c, CUresult result, uint64_t key, int kind, void (*undo)(uint64_t key));

// The steps around a real call that frees: `found` and `entry` from map_remove().
static inline CUresult freed(CUresult result, int found, const struct map_entry *entry) {
  if (found) {
    if (LIKELY(result == CUDA_SUCCESS)) release(entry->device, entry->bytes);
    else map_restore(entry);
  }
  return result;
}

// Reserves; where the ledger refuses, looks whether pools of this process hold less than they are charged for and asks again.
int reserve(int device, uint64_t bytes);

// hooks_pool.c: memory pools hold what they reserved; the driver lowers that at its own times.
void pools_settle(void);                                 // reads every pool anew
int pools_shrink(int device, uint64_t bytes);            // gives cached memory back to the driver; 1 where a charge went down
// Frees an address that came from a pool or may have, by a call that need not know of streams.
CUresult pool_free_now(CUdeviceptr address, CUstream stream, CUresult (*call)(CUdeviceptr, CUstream));
extern uint32_t pools_seen __attribute__((visibility("hidden")));
static inline int pools_known(void) { return __atomic_load_n(&pools_seen, __ATOMIC_RELAXED) != 0; }

// Sums and products that stay at UINT64_MAX once they pass it: the ledger refuses that.
static inline uint64_t product(uint64_t a, uint64_t b) {
  uint64_t out;
  return __builtin_mul_overflow(a, b, &out) ? UINT64_MAX : out;
}
static inline uint64_t sum(uint64_t a, uint64_t b) {
  uint64_t out;
  return __builtin_add_overflow(a, b, &out) ? UINT64_MAX : out;
}

// What an allocation takes of the card. Drivers give more than 1 MiB in whole pages of 2 MiB; smaller ones share such pages, at multiples of 512
// bytes. Assumed, not measured here: docs/adr/0013-interception.md.
#define DEVICE_PAGE (UINT64_C(2) << 20)
#define SHARED_MAX (UINT64_C(1) << 20)
#define SHARED_STEP UINT64_C(512)
static inline uint64_t card_bytes_possible(uint64_t bytes) { // of no more than there is anywhere
  uint64_t step = bytes > SHARED_MAX ? DEVICE_PAGE : SHARED_STEP;
  return (bytes + step - 1) & -step;
}
static inline uint64_t card_bytes(uint64_t bytes) {
  uint64_t up = card_bytes_possible(bytes);
  return LIKELY(up >= bytes) ? up : UINT64_MAX;
}

// A lock for rare paths of one process.
struct gate_lock {
  uint32_t word;
};
static inline void gate_lock(struct gate_lock *lock) {
  uint32_t state = 0;
  if (__atomic_compare_exchange_n(&lock->word, &state, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) return;
  while (exchange_acquire(&lock->word, 2U) != 0) sys_futex_wait(&lock->word, 2, 100000000U, FUTEX_PRIVATE_);
}
static inline void gate_unlock(struct gate_lock *lock) {
  if (__atomic_exchange_n(&lock->word, 0U, __ATOMIC_RELEASE) == 2) sys_futex_wake(&lock->word, 1, FUTEX_PRIVATE_);
}

// The hooks' own state: in memory that a forked child sees empty (MADV_WIPEONFORK), so that it knows no context, pool or held lock.
#define MAX_CONTEXTS 256U // a process has one per GPU; servers with own contexts a few dozen
#define MAX_DEVICES 64U
#define MAX_POOLS 65536U // rows of a table that is mapped with the first pool and costs the pages that are used
struct context_row {
  uint64_t context, owner; // owner 0: forgotten
  int32_t ordinal, pad;    // ordinal -1: not asked
};
struct pool_row {
  uint64_t pool;      // 0: free row
  uint64_t owner;     // number for the map
  uint64_t held;      // bytes reserved in the ledger for it
  uint64_t in_flight; // reserved beside it for the call under way
  uint64_t claimed;   // bytes that the call under way takes out of the pool
  uint64_t out;       // bytes allocated from it by calls that returned
  uint64_t grain;     // the smallest step it was seen to grow by; 0: none seen
  uint64_t live;      // addresses allocated from it
  uint64_t threshold; // the program's release threshold, while the call under way needs another
  uint32_t pinned;    // it does
  uint32_t where;     // location << 24 | type << 16 | number of the place it was made for; 0: nobody was seen to make it
  int32_t device;     // ledger index
  int32_t state;      // POOL_*
  uint32_t trims;     // times that memory of it may have gone beside a call under way
  uint32_t pad;
};
enum { POOL_LIVE = 1, POOL_UNCHARGED = 2, POOL_DESTROYED = 3 };
struct hook_state {
  struct gate_lock contexts_lock, pools_lock;
  struct gate_lock pool_turn; // one allocation from pools at a time, or the end of one, the real call included: see hooks_grow.c
  uint32_t next_owner;
  uint32_t pid; // whose state this is, where that has to be compared
  uint32_t pool_count; // rows ever used
  int32_t count;       // of devices + 1
  int32_t devices[MAX_DEVICES]; // ledger index + 3, 0 unknown
  struct context_row contexts[MAX_CONTEXTS];
  struct pool_row *pools; // NULL: none yet
};
// Whole pages, since the kernel wipes pages.
#if defined(__aarch64__)
#define STATE_ALIGNMENT 65536
#else
#define STATE_ALIGNMENT 4096
#endif
extern struct hook_state vram_state __attribute__((visibility("hidden"), aligned(STATE_ALIGNMENT)));
// Where the kernel does not wipe it for a child after fork: process numbers are compared instead, as the core does.
extern uint32_t vram_state_unwiped __attribute__((visibility("hidden")));
void hook_state_check(void);
static inline struct hook_state *hook_state(void) {
  if (UNLIKELY(load_relaxed(&vram_state_unwiped) != 0)) hook_state_check();
  return &vram_state;
}
// Before the gate opens for the hooks.
void hook_state_prepare(void);

// The one device's index, where the driver shows one device and it is charged; -1: ask place_current().
static inline int device_hot(void) {
  return LIKELY(load_relaxed(&vram_state.count) == 2) ? load_relaxed(&vram_state.devices[0]) - 3 : -1;
}
