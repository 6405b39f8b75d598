// SPDX-License-Identifier: Apache-2.0
// Arenas: some memory at hand and the blocks to use again, one per thread until there are more threads than arenas.
#ifndef PENSTOCK_FAKE_CUDA_CARD_H
#define PENSTOCK_FAKE_CUDA_CARD_H
#include "fake.h"

#include <sched.h>

enum { MAX_ARENAS = 64, FIRST_CLASS = 12 /* a page: blocks of their own pages can be backed */, LAST_CLASS = 39, CLASSES = LAST_CLASS - FIRST_CLASS + 1 };
struct arena {
  _Alignas(128) atomic_uint lock;
  uint32_t free[CLASSES]; /* index + 1 of the block freed last */
  _Alignas(128) _Atomic uint64_t credit[MAX_DEVICES];
};
extern struct arena arenas[MAX_ARENAS];
extern bool card_shared;

static inline void arena_lock(struct arena *arena) {
  while (unlikely(atomic_exchange_explicit(&arena->lock, 1, memory_order_acquire))) {
    for (int i = 0; i < 100 && atomic_load_explicit(&arena->lock, memory_order_relaxed); i++) __asm__ volatile("" ::: "memory");
    if (atomic_load_explicit(&arena->lock, memory_order_relaxed)) sched_yield();
  }
}
static inline void arena_unlock(struct arena *arena) { atomic_store_explicit(&arena->lock, 0, memory_order_release); }
/* Under the arena's lock; readers without it only sum up. */
static inline void credit_add(struct arena *arena, int device, uint64_t bytes) {
  _Atomic uint64_t *credit = &arena->credit[device];
  atomic_store_explicit(credit, atomic_load_explicit(credit, memory_order_relaxed) + bytes, memory_order_relaxed);
}
static inline bool credit_take(struct arena *arena, int device, uint64_t bytes) {
  _Atomic uint64_t *credit = &arena->credit[device];
  uint64_t at_hand = atomic_load_explicit(credit, memory_order_relaxed);
  if (at_hand < bytes) return false;
  atomic_store_explicit(credit, at_hand - bytes, memory_order_relaxed);
  return true;
}
/* Takes from the device, and puts some more at the arena's hand where there is plenty. */
bool card_take_into(int device, uint64_t bytes, struct arena *arena);
#endif
