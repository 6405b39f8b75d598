// SPDX-License-Identifier: Apache-2.0
// Stream-ordered memory. What costs device memory is what a pool has reserved from the driver, not the sum of what is allocated from it, so the
// charge of a pool follows CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT: it goes up before an allocation that makes the pool grow, and down when the
// driver lets memory go (a free, a trim, a synchronisation, a changed threshold). All arithmetic of a pool is under one lock; real
// allocations are not.
#include "hooks.h"
#include "hooks_pool.h"
#include "layout.gen.h"

uint32_t pools_seen;

#define RELEASE_THRESHOLD 4
#define RESERVED_MEM_CURRENT 5
#define USED_MEM_CURRENT 7
#define ALLOCATION_TYPE 9
#define LOCATION_ID 11
#define LOCATION_TYPE 12
#define TYPE_MANAGED 2
#define POOL_ROUNDING UINT64_C(512)      // of one allocation inside a pool
#define POOL_GRAIN (UINT64_C(32) << 20)  // drivers grow pools by multiples of this; a smaller step is learned when it is seen
#define PAGE (UINT64_C(2) << 20)          // of device memory
#define DESTROYED ((uint64_t)-1)
#define ATTEMPTS 2 // what the first one saw of the driver, the second one knows

static uint64_t round_to(uint64_t bytes, uint64_t grain) { return sum(bytes, grain - 1) / grain * grain; }

static int attribute(uint64_t pool, int which, void *out) {
  return DRIVER(cuMemPoolGetAttribute, CUmemoryPool, int, void *)((CUmemoryPool)pool, which, out) == CUDA_SUCCESS;
}

static uint64_t counter(uint64_t pool, int which) {
  uint64_t value = 0;
  return attribute(pool, which, &value) ? value : 0;
}

// ---- rows; the lock is held ----

static struct pool_row *find(struct hook_state *s, uint64_t pool) {
  for (uint32_t i = 0; i < s->pool_count; i++) {
    if (s->pools[i].pool == pool) return &s->pools[i];
  }
  return NULL;
}

static struct pool_row *find_owner(struct hook_state *s, uint64_t owner) {
  for (uint32_t i = 0; i < s->pool_count; i++) {
    if (s->pools[i].pool != 0 && s->pools[i].owner == owner) return &s->pools[i];
  }
  return NULL;
}

static struct pool_row *add(struct hook_state *s, uint64_t pool, int device) {
  struct pool_row *row = find(s, 0);
  if (row == NULL) row = s->pool_count < MAX_POOLS ? &s->pools[s->pool_count++] : NULL;
  if (row == NULL) return NULL;
  *row = (struct pool_row){.pool = pool, .owner = (uint64_t)fetch_add(&s->next_owner, 1U) + 1, .device = device};
  row->state = device == LEDGER_FREE ? POOL_UNCHARGED : POOL_LIVE;
  if (row->state == POOL_LIVE && map_insert(row->owner, KIND_POOL, device < 0 ? -1 : device, 0) != 0) row->device = LEDGER_UNLISTED;
  store_relaxed(&pools_seen, 1U);
  return row;
}

// `held` changes: the map keeps the process's own account of it.
static void hold(struct pool_row *row, uint64_t held) {
  uint64_t before;
  row->held = held;
  map_resize(row->owner, KIND_POOL, held, &before);
}

static void end_row(struct pool_row *row) {
  map_remove(row->owner, KIND_POOL, NULL);
  release(row->device, row->held);
  *row = (struct pool_row){0};
}

// What the pool has to grow by for this call beside those under way, and whether the step is known. The lock is held.
static uint64_t needed(const struct pool_row *row, uint64_t bytes) {
  uint64_t reserved = counter(row->pool, RESERVED_MEM_CURRENT);
  uint64_t used = sum(counter(row->pool, USED_MEM_CURRENT), sum(row->claimed, bytes));
  return used <= reserved ? 0 : used - reserved;
}

// Brings the charge to what the driver holds. `paid` are bytes reserved for this call that belong to the pool from now on; what others have
// under way stays. Returns 0, or 1 where the pool grew by more than the ledger grants.
static int settle(struct pool_row *row, uint64_t paid) {
  if (row->state != POOL_LIVE) return 0;
  uint64_t reserved = counter(row->pool, RESERVED_MEM_CURRENT), held = row->held + paid;
  if (reserved > held) {
    // What others reserved for their calls may be in there already: theirs counts until they settle.
    uint64_t missing = reserved - held;
    if (missing > row->in_flight && ledger_reserve(row->device, missing - row->in_flight) != 0) {
      hold(row, held);
      return 1;
    }
    held = missing > row->in_flight ? reserved - row->in_flight : held;
  }
  // Pinned calls paid for nothing, because what they claim was there: another one that paid may have taken it since.
  uint64_t floor = reserved + (row->pinned == 0 ? 0 : round_to(needed(row, 0), row->grain == 0 ? POOL_GRAIN : row->grain));
  if (held > floor) {
    release(row->device, held - floor);
    held = floor;
  }
  if (held != row->held) hold(row, held);
  return 0;
}

void pools_settle(void) {
  struct hook_state *s = hook_state();
  gate_lock(&s->pools_lock);
  for (uint32_t i = 0; i < s->pool_count; i++) {
    if (s->pools[i].pool != 0) settle(&s->pools[i], 0);
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
    // Not what calls under way count on.
    uint64_t before = row->held, used = sum(counter(row->pool, USED_MEM_CURRENT), row->claimed);
    uint64_t keep = before > bytes ? before - bytes : 0;
    DRIVER(cuMemPoolTrimTo, CUmemoryPool, size_t)((CUmemoryPool)row->pool, keep > used ? keep : used);
    settle(row, 0);
    lower |= row->held < before;
  }
  gate_unlock(&s->pools_lock);
  return lower;
}

void pool_freed(const struct map_entry *entry) {
  struct hook_state *s = hook_state();
  gate_lock(&s->pools_lock);
  struct pool_row *row = find_owner(s, entry->owner);
  if (row != NULL) {
    if (row->live > 0) row->live--;
    if (row->state == POOL_LIVE) settle(row, 0);
    if (row->state == POOL_DESTROYED) {
      // Its counters are gone with its handle: each free gives back its own part, the last one the rest.
      uint64_t part = round_to(entry->bytes, POOL_ROUNDING);
      if (part > row->held) part = row->held;
      release(row->device, part);
      hold(row, row->held - part);
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
static int unknown_pool_device(uint64_t pool, CUdevice current) {
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

void pool_learn(CUmemoryPool pool, int location, int id, int type) {
  struct hook_state *s = hook_state();
  int device = pool_device(location, id, type);
  gate_lock(&s->pools_lock);
  if (find(s, (uint64_t)pool) == NULL) add(s, (uint64_t)pool, device);
  gate_unlock(&s->pools_lock);
}

void pool_learn_foreign(CUmemoryPool pool) {
  struct hook_state *s = hook_state();
  gate_lock(&s->pools_lock);
  if (find(s, (uint64_t)pool) == NULL) add(s, (uint64_t)pool, LEDGER_FREE);
  gate_unlock(&s->pools_lock);
}

CUresult pool_trim(CUmemoryPool pool, size_t keep, CUresult (*trim)(CUmemoryPool, size_t)) {
  struct hook_state *s = hook_state();
  gate_lock(&s->pools_lock);
  struct pool_row *row = find(s, (uint64_t)pool);
  // Not what calls under way count on.
  uint64_t counted = row == NULL || row->claimed == 0 ? 0 : sum(counter(row->pool, USED_MEM_CURRENT), row->claimed);
  CUresult result = trim(pool, keep > counted ? keep : counted);
  if (row != NULL) settle(row, 0);
  gate_unlock(&s->pools_lock);
  return result;
}

CUresult pool_set(CUmemoryPool pool, int which, void *value, CUresult (*set)(CUmemoryPool, int, void *)) {
  struct hook_state *s = hook_state();
  uint64_t most = UINT64_MAX;
  gate_lock(&s->pools_lock);
  struct pool_row *row = find(s, (uint64_t)pool);
  CUresult result = set(pool, which, value);
  if (row != NULL && row->pinned > 0 && which == RELEASE_THRESHOLD && result == CUDA_SUCCESS) {
    row->threshold = *(uint64_t *)value;
    set(pool, which, &most);
  }
  if (row != NULL) settle(row, 0);
  gate_unlock(&s->pools_lock);
  return result;
}

CUresult pool_destroy(CUmemoryPool pool, CUresult (*destroy)(CUmemoryPool)) {
  struct hook_state *s = hook_state();
  // The lock is held across the real call: the handle may be given to a new pool at once, and that one registers behind us.
  gate_lock(&s->pools_lock);
  struct pool_row *row = find(s, (uint64_t)pool);
  uint64_t used = row == NULL ? 0 : counter(row->pool, USED_MEM_CURRENT);
  CUresult result = destroy(pool);
  if (row != NULL && result == CUDA_SUCCESS) {
    if (row->live == 0 || row->state != POOL_LIVE) {
      end_row(row);
    } else {
      // What is still allocated from it lives until it is freed.
      if (used < row->held) {
        release(row->device, row->held - used);
        hold(row, used);
      }
      row->state = POOL_DESTROYED;
      row->pool = DESTROYED;
    }
  }
  gate_unlock(&s->pools_lock);
  return result;
}

// ---- an allocation ----

struct growth {
  uint64_t owner;   // of the pool; 0: not followed
  uint64_t claimed; // bytes that this call takes out of the pool
  uint64_t paid;    // bytes reserved for its growth
  int device;
  int pinned;
  uint64_t call, reserved; // the pool's number of calls, and what it held, when this one began
};

// While an allocation counts on what its pool has cached, the driver must not let that go at another thread's synchronisation. The lock is held.
static void pin(struct pool_row *row) {
  uint64_t most = UINT64_MAX;
  if (row->pinned++ > 0) return;
  row->threshold = counter(row->pool, RELEASE_THRESHOLD);
  DRIVER(cuMemPoolSetAttribute, CUmemoryPool, int, void *)((CUmemoryPool)row->pool, RELEASE_THRESHOLD, &most);
}

static void unpin(struct pool_row *row) {
  if (--row->pinned > 0 || row->state != POOL_LIVE) return;
  DRIVER(cuMemPoolSetAttribute, CUmemoryPool, int, void *)((CUmemoryPool)row->pool, RELEASE_THRESHOLD, &row->threshold);
}

// One try to reserve what the pool may grow by. The lock is held, but not while the ledger is asked. 0: go on; 1: over quota; *row NULL: the pool
// is gone.
static int pay_once(struct hook_state *s, struct growth *g, struct pool_row **row) {
  uint64_t grain = (*row)->grain == 0 ? POOL_GRAIN : (*row)->grain;
  // All of it, as if nothing were cached: then nobody has to be kept from anything.
  g->paid = round_to(g->claimed, grain);
  gate_unlock(&s->pools_lock);
  int refused = ledger_reserve(g->device, g->paid);
  gate_lock(&s->pools_lock);
  *row = find_owner(s, g->owner);
  if (!refused || *row == NULL) return refused;
  pin(*row);
  g->pinned = 1;
  (*row)->claimed -= g->claimed; // not beside itself
  uint64_t need = needed(*row, g->claimed);
  (*row)->claimed += g->claimed;
  gate_unlock(&s->pools_lock);
  g->paid = round_to(need, grain);
  refused = need != 0 && ledger_reserve(g->device, g->paid) != 0;
  gate_lock(&s->pools_lock);
  *row = find_owner(s, g->owner);
  if (refused && *row != NULL) unpin(*row);
  if (refused) g->pinned = 0;
  return refused;
}

static int pay(struct hook_state *s, struct growth *g, struct pool_row **row) {
  if (!pay_once(s, g, row)) return 0;
  gate_unlock(&s->pools_lock);
  pools_shrink(g->device, UINT64_MAX); // what pools have cached makes room, this one's own too: then it needs more than before
  gate_lock(&s->pools_lock);
  *row = find_owner(s, g->owner);
  return *row == NULL || pay_once(s, g, row);
}

static int grow_begin(struct growth *g, uint64_t pool, CUdevice current, uint64_t bytes) {
  struct hook_state *s = hook_state();
  *g = (struct growth){.claimed = round_to(bytes, POOL_ROUNDING)};
  gate_lock(&s->pools_lock);
  struct pool_row *row = find(s, pool);
  if (row == NULL) row = add(s, pool, unknown_pool_device(pool, current));
  if (row == NULL || row->state == POOL_UNCHARGED) {
    gate_unlock(&s->pools_lock);
    return row == NULL; // a table of 256 pools is full: nothing can be said about this one
  }
  if (bytes > MAP_BYTES_MAX) { // no sum below overflows
    gate_unlock(&s->pools_lock);
    return 1;
  }
  g->owner = row->owner;
  g->device = row->device;
  row->claimed += g->claimed;
  g->call = ++row->calls;
  int refused = pay(s, g, &row);
  if (row != NULL && refused) row->claimed -= g->claimed;
  else if (row != NULL) row->in_flight += g->paid;
  if (row != NULL) g->reserved = counter(row->pool, RESERVED_MEM_CURRENT);
  gate_unlock(&s->pools_lock);
  return refused;
}

// Only from a call that nobody else's could have disturbed, and only steps that a driver may have: a multiple of the page.
static void learn_grain(struct pool_row *row, const struct growth *g) {
  uint64_t now = counter(row->pool, RESERVED_MEM_CURRENT);
  if (row->calls != g->call || row->claimed != 0 || now <= g->reserved) return;
  uint64_t step = (now - g->reserved) & -(now - g->reserved);
  if (step > POOL_GRAIN) step = POOL_GRAIN;
  if (step >= PAGE && (row->grain == 0 || step < row->grain)) row->grain = step;
}

// 0: kept. 1: the pool grew by more than is granted, the allocation has to go back.
static int grow_end(const struct growth *g, CUresult result, uint64_t address, uint64_t bytes) {
  struct hook_state *s = hook_state();
  if (g->owner == 0) return 0;
  gate_lock(&s->pools_lock);
  struct pool_row *row = find_owner(s, g->owner);
  int over = 0;
  if (row == NULL) {
    release(g->device, g->paid);
  } else {
    row->claimed -= g->claimed;
    row->in_flight -= g->paid;
    if (g->pinned) unpin(row);
    over = settle(row, g->paid) && result == CUDA_SUCCESS;
    if (result == CUDA_SUCCESS) learn_grain(row, g);
    if (result == CUDA_SUCCESS) row->live++;
  }
  gate_unlock(&s->pools_lock);
  if (result != CUDA_SUCCESS) return 0;
  struct map_entry entry = {.key = address, .owner = g->owner, .bytes = bytes, .kind = KIND_POOLED, .device = -1, .count = 1};
  return map_insert_entry(&entry) != 0 || over;
}

static CUdevice stream_device(const struct pool_request *r, CUdevice current) {
  if ((uint64_t)r->stream <= 2 || device_count() <= 1) return current; // the default streams are the current context's
  CUdevice ordinal = current;
  CUcontext context = NULL, popped = NULL;
  if (driver_has(I_cuStreamGetDevice)) {
    if (DRIVER(cuStreamGetDevice, CUstream, CUdevice *)(r->stream, &ordinal) == CUDA_SUCCESS) return ordinal;
    return current;
  }
  if (DRIVER(cuStreamGetCtx, CUstream, CUcontext *)(r->stream, &context) != CUDA_SUCCESS || context == NULL) return current;
  if (DRIVER(cuCtxPushCurrent_v2, CUcontext)(context) != CUDA_SUCCESS) return current;
  DRIVER(cuCtxGetDevice, CUdevice *)(&ordinal);
  DRIVER(cuCtxPopCurrent_v2, CUcontext *)(&popped);
  return ordinal;
}

int stream_is_capturing(CUstream stream, int per_thread) {
  int status = 0;
  uint32_t which = per_thread ? I_cuStreamIsCapturing_ptsz : I_cuStreamIsCapturing;
  return ((CUresult(*)(CUstream, int *))driver_entry(which))(stream, &status) == CUDA_SUCCESS && status == 1;
}

CUresult pool_alloc(struct pool_request *r) {
  struct whose place;
  if (r->address == NULL || r->bytes == 0 || !place_current(&place)) return r->call(r);
  CUdevice ordinal = stream_device(r, place.ordinal);
  if (stream_is_capturing(r->stream, r->per_thread)) {
    // A node of a graph: it allocates when the graph runs.
    CUresult result = r->call(r);
    if (result == CUDA_SUCCESS) ledger_unaccounted(device_index(ordinal), (int)UNACCOUNTED_GRAPH, r->bytes);
    return result;
  }
  CUmemoryPool pool = r->pool;
  if (!r->named && DRIVER(cuDeviceGetMemPool, CUmemoryPool *, CUdevice)(&pool, ordinal) != CUDA_SUCCESS) pool = NULL;
  if (pool == NULL) {
    // Nobody knows where it would come from; a driver that allocates nevertheless has to take it back.
    CUresult result = r->call(r);
    if (result == CUDA_SUCCESS) r->undo(r);
    return result == CUDA_SUCCESS ? CUDA_ERROR_OUT_OF_MEMORY : result;
  }
  for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
    struct growth g;
    if (grow_begin(&g, (uint64_t)pool, ordinal, r->bytes)) return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = r->call(r);
    if (!grow_end(&g, result, result == CUDA_SUCCESS ? *r->address : 0, r->bytes)) return result;
    r->undo(r);
    struct map_entry entry;
    if (map_remove(*r->address, KIND_POOLED, &entry)) pool_freed(&entry);
    pools_shrink(g.device, UINT64_MAX);
  }
  return CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult pool_free(CUdeviceptr address, CUstream stream, int per_thread, CUresult (*call)(CUdeviceptr, CUstream)) {
  // A captured free is a node: what it frees was allocated by the graph.
  if (address == 0 || stream_is_capturing(stream, per_thread)) return call(address, stream);
  struct map_entry entry;
  int pooled = map_remove(address, KIND_POOLED, &entry);
  int found = pooled || map_remove(address, KIND_LINEAR, &entry);
  CUresult result = freed(call(address, stream), found, &entry);
  if (pooled && result == CUDA_SUCCESS) pool_freed(&entry);
  return result;
}
