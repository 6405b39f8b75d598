// SPDX-License-Identifier: Apache-2.0
// The ordinary entry: not owned, charged, at its key's own place. Inline in the two hooks that programs call often. Where the place is gets worked
// out before the lock is there, and whether the table is still the same looked at again.
#ifndef PENSTOCK_VRAM_MAP_HOT_H
#define PENSTOCK_VRAM_MAP_HOT_H

#include "vram/map_shard.h"
#include "vram/map_table.h"

/** 0: in. 1: nothing was done, ask map_insert(). `device` is below DEVICES, `bytes` at most MAP_BYTES_MAX. */
static inline int map_insert_hot(uint64_t key, uint32_t kind, int device, uint64_t bytes) {
  uint64_t hashed = hash(key, kind), table = load_relaxed(&ledger_arena.hot);
  struct shard *shard = shard_of(hashed);
  struct place *place = home_of(table, hashed);
  __asm__("" : "+r"(shard), "+r"(place)); // kept as addresses: gcc would compute them anew for each member
  __builtin_prefetch(place, 1);
  if (unlikely(table == 0) || unlikely(exchange_acquire(&shard->lock, 1) != 0)) return 1;
  uint64_t *left = &shard->account[device].left;
  int fits = load_relaxed(&ledger_arena.hot) == table && *left >= bytes && place->word == 0;
  if (likely(fits)) {
    uint64_t word = word_of(kind, device, bytes) | WORD_PLAIN;
    __asm__("" : "+r"(word)); // not by way of a vector register
    place->key = key;
    place->word = word;
    shard->spare--;
    *left -= bytes;
  }
  shard_unlock(shard);
  return !fits;
}

/** The word of the entry that was taken out, or 0: nothing was done, ask map_remove(). */
static inline uint64_t map_take_hot(uint64_t key, uint32_t kind) {
  uint64_t hashed = hash(key, kind), table = load_relaxed(&ledger_arena.hot), word = 0;
  struct shard *shard = shard_of(hashed);
  struct place *place = home_of(table, hashed);
  __asm__("" : "+r"(shard), "+r"(place));
  __builtin_prefetch(place, 1);
  if (unlikely(table == 0) || unlikely(exchange_acquire(&shard->lock, 1) != 0)) return 0;
  if (likely(load_relaxed(&ledger_arena.hot) == table && place->key == key)) {
    uint32_t device = (uint32_t)device_of(word = place->word);
    if (likely(kind_of(word) == kind && device < DEVICES)) {
      place->key = 0;
      place->word = word & WORD_PASSED;
      shard->account[device].left += bytes_of(word);
      shard->spare++;
    } else {
      word = 0;
    }
  }
  shard_unlock(shard);
  return word;
}

#endif
