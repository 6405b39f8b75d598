// SPDX-License-Identifier: Apache-2.0
// The accounts of pools, between hooks_pool.c and hooks_grow.c. Rows are used under hook_state()->pools_lock only.
#pragma once
#include "hooks.h"

// CUmemPool_attribute
#define RELEASE_THRESHOLD 4
#define RESERVED_MEM_CURRENT 5
#define USED_MEM_CURRENT 7
#define POOL_ROUNDING UINT64_C(512)     // of one allocation inside a pool
#define POOL_GRAIN (UINT64_C(32) << 20) // drivers grow pools by multiples of this; a smaller step is learned when it is seen

static inline uint64_t pool_round(uint64_t bytes, uint64_t grain) { return sum(bytes, grain - 1) / grain * grain; }
static inline uint64_t pool_grain(const struct pool_row *row) { return row->grain == 0 ? POOL_GRAIN : row->grain; }

// 0, or 1 where it did not come within LEDGER_PATIENCE_MS: a real call of another thread does not return.
int pool_turn_take(struct gate_lock *turn);
uint64_t pool_counter(uint64_t pool, int which);
struct pool_row *pool_find(struct hook_state *s, uint64_t pool);
struct pool_row *pool_by_owner(struct hook_state *s, uint64_t owner);
// NULL: the table is full.
struct pool_row *pool_add(struct hook_state *s, uint64_t pool, int device, uint32_t where);
// For a pool whose GPU could not be told when it was met (no descriptor or memory was left): asks again.
void pool_locate(struct pool_row *row, CUdevice current);
uint64_t pool_needed(const struct pool_row *row);
// A pooled address was freed.
void pool_freed(const struct map_entry *entry);
int pool_settle(struct pool_row *row, uint64_t paid);
int pool_unknown_device(uint64_t pool, CUdevice current);
