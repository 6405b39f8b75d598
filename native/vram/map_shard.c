// SPDX-License-Identifier: Apache-2.0
#include "vram/map_shard.h"
#include "vram/ledger.h"

enum { YIELD_AFTER = 256, YIELDS_PER_LOOK = 256 };
#define PATIENCE (LEDGER_PATIENCE_MS * MILLISECOND)

int shard_lock_slowly(uint32_t *lock) {
  uint64_t end = 0;
  for (uint32_t spin = 1;; spin++) {
    if (load_relaxed(lock) == 0 && exchange_acquire(lock, 1) == 0) return 0;
    cpu_relax();
    if (spin % YIELD_AFTER) continue;
    sys1(SYS_sched_yield, 0);
    if (spin / YIELD_AFTER % YIELDS_PER_LOOK) continue;
    // Only a handler that interrupted the holder on its own thread can wait this long; CUDA forbids calls from there.
    uint64_t now = sys_nanoseconds();
    if (!end) end = now + PATIENCE;
    if (now >= end) return 1;
  }
}

/** Lowest first; nobody else ever waits for a second one. */
int shards_lock(void) {
  for (uint32_t i = 0; i < SHARDS; i++)
    if (shard_lock(&ledger_arena.shards[i])) {
      while (i--) shard_unlock(&ledger_arena.shards[i]);
      return 1;
    }
  return 0;
}

void shards_unlock(void) {
  for (uint32_t i = 0; i < SHARDS; i++) shard_unlock(&ledger_arena.shards[i]);
}

int shard_deal(struct shard *shard, int device, uint64_t bytes, int forced) {
  if (device < 0) return 0;
  store_relaxed(&ledger_arena.dealt, 1);
  uint64_t limit = control_limit(device), held = 0;
  for (uint32_t i = 0; i < SHARDS; i++) held += ledger_arena.shards[i].account[device].cap - ledger_arena.shards[i].account[device].left;
  if (held > limit || bytes > limit - held) {
    if (forced) shard->account[device].cap += bytes, shard->account[device].left += bytes;
    return !forced;
  }
  uint64_t share = (limit - held - bytes) / SHARDS;
  for (uint32_t i = 0; i < SHARDS; i++) {
    struct shard *each = &ledger_arena.shards[i];
    each->account[device].cap += share - each->account[device].left; // held + share
    each->account[device].left = share;
  }
  shard->account[device].cap += bytes;
  shard->account[device].left += bytes;
  return 0;
}

void map_recap(struct arena *arena) {
  if (!load_relaxed(&arena->dealt) || shards_lock()) return;
  for (uint32_t i = 0, devices = control_devices(); i < SHARDS; i++)
    for (uint32_t device = 0; device < devices; device++) {
      arena->shards[i].account[device].cap -= arena->shards[i].account[device].left;
      arena->shards[i].account[device].left = 0;
    }
  shards_unlock();
}
