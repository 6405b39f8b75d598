// SPDX-License-Identifier: Apache-2.0
// A shard of the map: its lock, and its share of the limit. The shard counts the bytes that it holds per device against a share of the control
// page's limit, under the lock that it takes anyway. So a process never holds more than the limit even if the ledger page tells it lies, at no cost
// to the fast path: only a shard whose share is short takes all locks, counts exactly, and deals out anew.
#ifndef PENSTOCK_VRAM_MAP_SHARD_H
#define PENSTOCK_VRAM_MAP_SHARD_H

#include "vram/core.h"

HIDDEN int shard_lock_slowly(uint32_t *lock);
/** 0, or 1: only a handler that interrupted the holder on its own thread waits that long. */
static inline int shard_lock(struct shard *shard) {
  return likely(exchange_acquire(&shard->lock, 1) == 0) ? 0 : shard_lock_slowly(&shard->lock);
}
static inline void shard_unlock(struct shard *shard) { store_release(&shard->lock, 0); }
/** Locks of all shards; 0, or 1 and none. */
HIDDEN int shards_lock(void);
HIDDEN void shards_unlock(void);

/**
 * With all locks: counts what is held and deals out what is left of the limit, `bytes` of it to `shard` first. 0, or 1 when they are not left; with
 * `forced` the shard may hold them all the same, and others less for it the next time.
 */
HIDDEN int shard_deal(struct shard *shard, int device, uint64_t bytes, int forced);

#endif
