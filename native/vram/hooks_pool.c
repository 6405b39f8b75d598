// SPDX-License-Identifier: Apache-2.0
// Stream-ordered memory. What costs device memory is what a pool has reserved from the driver, not the sum of what is allocated from it, so the
// charge of a pool follows CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT: it goes up before an allocation that makes the pool grow, and down when the
// driver lets memory go (a free, a trim, a synchronisation, a changed threshold). All arithmetic of a pool is under one lock; real
// allocations are not.
#include "hooks_pool.h"
#include "pool_rows.h"
#include "layout.gen.h"

uint32_t pools_seen;

#define ALLOCATION_TYPE 9
#define LOCATION_ID 11
#define LOCATION_TYPE 12
#define TYPE_MANAGED 2
#define DESTROYED ((uint64_t)-1)

static int attribute(uint64_t pool, int which, void *out) {
  return DRIVER(cuMemPoolGetAttribute, CUmemoryPool, int, void *)((CUmemoryPool)pool, which, out) == CUDA_SUCCESS;
}

uint64_t pool_counter(uint64_t pool, int which) {
  uint64_t value = 0;
  return attribute(pool, which, &value) ? value : 0;
}

// ---- rows; the lock is held ----

struct pool_row *pool_find(struct hook_state *s, uint64_t pool) {
  for (uint32_t i = 0; i < s->pool_count; i++) {
    if (s->pools[i].pool == pool) return &s->pools[i];
  }
  return NULL;
}

struct pool_row *pool_by_owner(struct hook_state *s, uint64_t owner) {
  for (uint32_t i = 0; i < s->pool_count; i++) {
    if (s->pools[i].pool != 0 && s->pools[i].owner == owner) return &s->pools[i];
  }
  return NULL;
}

static void lies_at(struct pool_row *row, int device) {
  row->device = device;
  row->state = device == LEDGER_FREE ? POOL_UNCHARGED : POOL_LIVE;
  if (row->state == POOL_LIVE && map_insert(row->owner, KIND_POOL, device < 0 ? -1 : device, 0) != 0) row->device = LEDGER_UNLISTED;
}

struct pool_row *pool_add(struct hook_state *s, uint64_t pool, int device, uint32_t where) {
  if (s->pools == NULL) {
    struct pool_row *rows =
        sys_mmap(MAX_POOLS * sizeof *rows, PROT_READ_ | PROT_WRITE_, MAP_PRIVATE_ | MAP_ANONYMOUS_ | MAP_NORESERVE_, -1);
    if (rows == NULL) return NULL;
    s->pools = rows;
  }
  struct pool_row *row = pool_find(s, 0);
  if (row == NULL) row = s->pool_count < MAX_POOLS ? &s->pools[s->pool_count++] : NULL;
  if (row == NULL) return NULL;
  *row = (struct pool_row){.pool = pool, .owner = (uint64_t)fetch_add(&s->next_owner, 1U) + 1, .where = where};
  lies_at(row, device);
  store_relaxed(&pools_seen, 1U);
  return row;
}

// `held` becomes that, and what was more is given back. 1: the process would hold more than its limit by its own account (map.h); then the
// ledger gets back what it lent.
static int hold(struct pool_row *row, uint64_t reserved, uint64_t held) {
  uint64_t before;
  int refused = map_resize(row->owner, KIND_POOL, held, &before) == 1;
  if (refused) held = row->held;
  if (reserved > held) release(row->device, reserved - held);
  row->held = held;
  return refused;
}

static void end_row(struct pool_row *row) {
  map_remove(row->owner, KIND_POOL, NULL);
  release(row->device, row->held);
  *row = (struct pool_row){0};
}

// What the pool has to grow by for the call under way.
uint64_t pool_needed(const struct pool_row *row) {
  uint64_t reserved = pool_counter(row->pool, RESERVED_MEM_CURRENT), used = pool_counter(row->pool, USED_MEM_CURRENT);
  // Looked at by another thread, the driver has counted already what the call allocated, or not any more what it freed; we count both when it returns.
  used = sum(used < row->out ? used : row->out, row->claimed);
  return used <= reserved ? 0 : used - reserved;
}

// Brings the charge to what the driver holds. `paid` are bytes reserved for this call that belong to the pool from now on; what a call under way
// on another thread has reserved stays. Returns 0, or 1 where the pool grew by more than the ledger grants.
int pool_settle(struct pool_row *row, uint64_t paid) {
  if (row->state != POOL_LIVE) return 0;
  uint64_t on_card = pool_counter(row->pool, RESERVED_MEM_CURRENT), reserved = row->held + paid;
  // What a call under way has reserved may be on the card already: it counts until that one settles.
  uint64_t covered = sum(reserved, row->in_flight), missing = on_card > covered ? on_card - covered : 0;
  if (missing != 0) {
    if (ledger_try(row->device, missing) != 0) {
      hold(row, reserved, reserved);
      return 1;
    }
    reserved += missing;
  }
  return hold(row, reserved, reserved > on_card ? on_card : reserved);
}

void pools_settle(void) {
  struct hook_state *s = hook_state();
  gate_lock(&s->pools_lock);
  for (uint32_t i = 0; i < s->pool_count; i++) {
    if (s->pools[i].pool != 0) pool_settle(&s->pools[i], 0);
  }
  gate_unlock(&s->pools_lock);
}

int pools_shrink(int device, uint64_t bytes) {
  struct hook_state *s = hook_state();
  int lower = 0;
  gate_lock(&s->pools_lock);
  for (uint32_t i = 0; i < s->pool_count; i++) {
    struct pool_row *row = &s->pools[i];
    if (row->pool == 0 || row->state != POOL_LIVE || row->device != device || row->held == 0) continue;
    // Not what a call under way counts on.
    uint64_t before = row->held, used = sum(pool_counter(row->pool, USED_MEM_CURRENT), row->claimed);
    uint64_t keep = before > bytes ? before - bytes : 0;
    row->trims++;
    DRIVER(cuMemPoolTrimTo, CUmemoryPool, size_t)((CUmemoryPool)row->pool, keep > used ? keep : used);
    pool_settle(row, 0);
    lower |= row->held < before;
  }
  gate_unlock(&s->pools_lock);
  return lower;
}

void pool_freed(const struct map_entry *entry) {
  struct hook_state *s = hook_state();
  gate_lock(&s->pools_lock);
  struct pool_row *row = pool_by_owner(s, entry->owner);
  if (row != NULL) {
    uint64_t bytes = pool_round(entry->bytes, POOL_ROUNDING);
    if (row->live > 0) row->live--;
    row->out -= bytes < row->out ? bytes : row->out;
    if (row->state == POOL_LIVE) pool_settle(row, 0);
    if (row->state == POOL_DESTROYED) {
      // Its counters are gone with its handle, and what it holds may stay until nothing of it is in use.
      if (row->live == 0) end_row(row);
    }
  }
  gate_unlock(&s->pools_lock);
}

// ---- where a pool lies ----

static int managed_is_free(void) { return (ledger_flags() & CONTROL_FLAG_MANAGED_UNCHARGED) != 0; }

static int pool_device(int location, int id, int type) {
  if (type == TYPE_MANAGED && managed_is_free()) return LEDGER_FREE;
  if (type == TYPE_MANAGED && location != LOCATION_DEVICE) return LEDGER_FREE;
  if (location == LOCATION_DEVICE) return device_index(id);
  if (location == LOCATION_DEVICE_DOMAIN) return device_index(id & 0xff);
  return LEDGER_FREE; // host memory
}

// A pool that nobody was seen to create: a device's default one, or one of a driver that tells.
int pool_unknown_device(uint64_t pool, CUdevice current) {
  int location = 0, id = 0, type = 0;
  if (attribute(pool, LOCATION_TYPE, &location) && attribute(pool, LOCATION_ID, &id) && attribute(pool, ALLOCATION_TYPE, &type)) {
    return pool_device(location, id, type);
  }
  for (CUdevice ordinal = 0; ordinal < device_count(); ordinal++) {
    CUmemoryPool other = NULL;
    if (DRIVER(cuDeviceGetDefaultMemPool, CUmemoryPool *, CUdevice)(&other, ordinal) != CUDA_SUCCESS) continue;
    if ((uint64_t)other == pool) return device_index(ordinal);
  }
  return device_index(current);
}

void pool_locate(struct pool_row *row, CUdevice current) {
  int device = row->where == 0 ? pool_unknown_device(row->pool, current)
                               : pool_device((int)(row->where >> 24), (int)(row->where & 0xffff), (int)(row->where >> 16 & 0xff));
  if (device != LEDGER_UNLISTED) lies_at(row, device);
}

void pool_learn(CUmemoryPool pool, int location, int id, int type) {
  struct hook_state *s = hook_state();
  int device = pool_device(location, id, type);
  uint32_t where = (uint32_t)(location & 0xff) << 24 | (uint32_t)(type & 0xff) << 16 | (uint32_t)(id & 0xffff);
  gate_lock(&s->pools_lock);
  if (pool_find(s, (uint64_t)pool) == NULL) pool_add(s, (uint64_t)pool, device, where);
  gate_unlock(&s->pools_lock);
}

void pool_learn_foreign(CUmemoryPool pool) {
  struct hook_state *s = hook_state();
  gate_lock(&s->pools_lock);
  if (pool_find(s, (uint64_t)pool) == NULL) pool_add(s, (uint64_t)pool, LEDGER_FREE, 0);
  gate_unlock(&s->pools_lock);
}

CUresult pool_trim(CUmemoryPool pool, size_t keep, CUresult (*trim)(CUmemoryPool, size_t)) {
  struct hook_state *s = hook_state();
  gate_lock(&s->pools_lock);
  struct pool_row *row = pool_find(s, (uint64_t)pool);
  // Not what a call under way counts on.
  uint64_t counted = row == NULL || row->claimed == 0 ? 0 : sum(pool_counter(row->pool, USED_MEM_CURRENT), row->claimed);
  CUresult result = trim(pool, keep > counted ? keep : counted);
  if (row != NULL) row->trims++, pool_settle(row, 0);
  gate_unlock(&s->pools_lock);
  return result;
}

CUresult pool_set(CUmemoryPool pool, int which, void *value, CUresult (*set)(CUmemoryPool, int, void *)) {
  struct hook_state *s = hook_state();
  uint64_t most = UINT64_MAX;
  gate_lock(&s->pools_lock);
  struct pool_row *row = pool_find(s, (uint64_t)pool);
  CUresult result = set(pool, which, value);
  if (row != NULL && row->pinned && which == RELEASE_THRESHOLD && result == CUDA_SUCCESS) {
    row->threshold = *(uint64_t *)value;
    set(pool, which, &most);
  }
  if (row != NULL) row->trims++, pool_settle(row, 0);
  gate_unlock(&s->pools_lock);
  return result;
}

CUresult pool_destroy(CUmemoryPool pool, CUresult (*destroy)(CUmemoryPool)) {
  struct hook_state *s = hook_state();
  // In turn: an allocation under way works on its row. Where the turn does not come, that can only be another pool's: whoever destroys the one that another
  // thread is allocating from is told so. The lock is held across the real call: the handle may be given to a new pool at once, and that one registers behind us.
  int late = pool_turn_take(&s->pool_turn);
  gate_lock(&s->pools_lock);
  struct pool_row *row = pool_find(s, (uint64_t)pool);
  if (late && row != NULL && row->claimed != 0) {
    gate_unlock(&s->pools_lock);
    return CUDA_ERROR_NOT_READY;
  }
  if (row != NULL && row->state == POOL_LIVE) {
    // What is cached would stay with what is in use, and nobody could ask for it any more.
    DRIVER(cuMemPoolTrimTo, CUmemoryPool, size_t)(pool, 0);
    pool_settle(row, 0);
  }
  CUresult result = destroy(pool);
  if (row != NULL && result == CUDA_SUCCESS) {
    if (row->live == 0 || row->state != POOL_LIVE) {
      end_row(row);
    } else {
      row->state = POOL_DESTROYED;
      row->pool = DESTROYED;
    }
  }
  gate_unlock(&s->pools_lock);
  if (!late) gate_unlock(&s->pool_turn);
  return result;
}
