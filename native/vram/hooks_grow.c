// SPDX-License-Identifier: Apache-2.0
// Stream-ordered allocations, and frees of what came from pools. A pool must not grow past the quota even for a moment, and what it has cached must be of
// use up to the last byte: so what it has to grow by is reserved before the real call, and the pool is kept from shrinking while the call uses what is
// cached.
//
// All of it happens in turn, one call of this process at a time, the real call and the end of a pool included: what one call counts on as cached must not be
// what another, which reserved nothing for it either, is just being given. So a row that a call works on stays. Frees, which may wait for the device, take no
// turn: what they give back is cached only once the driver has it, and goes off the account of its pool behind that.
#include "hooks_pool.h"
#include "layout.gen.h"
#include "pool_rows.h"

#define ATTEMPTS 2 // what the first one saw of the driver, the second one knows

struct growth {
  struct pool_row *row; // NULL: not followed
  uint64_t claimed;     // bytes that this call takes out of the pool
  uint64_t paid;        // bytes reserved for its growth
  uint64_t reserved;    // what the pool held when the call began
  uint32_t trims;       // likewise
};

// While an allocation counts on what its pool has cached, and by what it grows is looked at, the driver must not let anything go at another thread's
// synchronisation. The lock is held.
static void threshold(uint64_t pool, uint64_t bytes) {
  DRIVER(cuMemPoolSetAttribute, CUmemoryPool, int, void *)((CUmemoryPool)pool, RELEASE_THRESHOLD, &bytes);
}

static void pin(struct pool_row *row) {
  row->pinned = 1;
  row->threshold = pool_counter(row->pool, RELEASE_THRESHOLD);
  if (row->threshold != UINT64_MAX) threshold(row->pool, UINT64_MAX);
}

static void unpin(struct pool_row *row) {
  if (row->pinned && row->threshold != UINT64_MAX) threshold(row->pool, row->threshold);
  row->pinned = 0;
}

// What this call may make the pool grow by. The lock is held.
static uint64_t own_need(const struct growth *g) {
  uint64_t need = pool_needed(g->row);
  return need < g->claimed ? need : g->claimed;
}

// One try to reserve that, and no more even for a moment: neighbours at the limit would be refused what fits. The lock is held, but not while
// the ledger is asked. 0: go on; 1: over quota.
static int pay_once(struct hook_state *s, struct growth *g, int (*ask)(int, uint64_t)) {
  pin(g->row);
  uint64_t need = own_need(g); // what is cached stays now
  g->paid = pool_round(need, pool_grain(g->row));
  if (need == 0) return 0;
  gate_unlock(&s->pools_lock);
  int refused = ask(g->row->device, g->paid) != 0;
  gate_lock(&s->pools_lock);
  if (refused) unpin(g->row);
  return refused;
}

static int pay(struct hook_state *s, struct growth *g) {
  if (!pay_once(s, g, ledger_try)) return 0;
  gate_unlock(&s->pools_lock);
  pools_shrink(g->row->device, UINT64_MAX); // what pools have cached makes room, this one's own too: then it needs more than before
  gate_lock(&s->pools_lock);
  return pay_once(s, g, ledger_reserve);
}

// The lock is held. 0: go on with the real call.
static int claim(struct hook_state *s, struct growth *g, struct pool_row *row) {
  g->row = row;
  row->claimed = g->claimed;
  int refused = pay(s, g);
  if (refused) row->claimed = 0;
  else row->in_flight = g->paid;
  g->reserved = pool_counter(row->pool, RESERVED_MEM_CURRENT);
  g->trims = row->trims;
  return refused;
}

static int grow_begin(struct growth *g, uint64_t pool, CUdevice current, uint64_t bytes) {
  struct hook_state *s = hook_state();
  *g = (struct growth){.claimed = pool_round(bytes, POOL_ROUNDING)};
  gate_lock(&s->pools_lock);
  struct pool_row *row = pool_find(s, pool);
  if (row == NULL) row = pool_add(s, pool, pool_unknown_device(pool, current), 0);
  else if (row->device == LEDGER_UNLISTED) pool_locate(row, current);
  int charged = row != NULL && row->state != POOL_UNCHARGED;
  // No row: the table of pools is full, or there is no memory for it, and nothing can be said about this one. Too much: sums would overflow.
  int refused = row == NULL || (charged && bytes > MAP_BYTES_MAX);
  if (charged && !refused) refused = claim(s, g, row);
  gate_unlock(&s->pools_lock);
  return refused;
}

// Only steps that a driver may have: a multiple of the page. Not where something was trimmed meanwhile: that would be taken for a smaller step.
static void learn_grain(const struct growth *g) {
  struct pool_row *row = g->row;
  uint64_t before = g->reserved, now = pool_counter(row->pool, RESERVED_MEM_CURRENT);
  if (now <= before || row->trims != g->trims) return;
  uint64_t step = (now - before) & -(now - before);
  if (step > POOL_GRAIN) step = POOL_GRAIN;
  if (step >= DEVICE_PAGE && (row->grain == 0 || step < row->grain)) row->grain = step;
}

// 0: kept. 1: the pool grew by more than is granted, the allocation has to go back.
static int grow_end(const struct growth *g, CUresult result, uint64_t address, uint64_t bytes) {
  struct hook_state *s = hook_state();
  struct pool_row *row = g->row;
  if (row == NULL) return 0;
  gate_lock(&s->pools_lock);
  row->claimed = row->in_flight = 0;
  if (result == CUDA_SUCCESS) row->live++, row->out += g->claimed;
  if (result == CUDA_SUCCESS) learn_grain(g);
  unpin(row);
  int over = pool_settle(row, g->paid);
  gate_unlock(&s->pools_lock);
  if (result != CUDA_SUCCESS) return 0;
  struct map_entry entry = {.key = address, .owner = row->owner, .bytes = bytes, .kind = KIND_POOLED, .device = -1, .count = 1};
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

int pool_turn_take(struct gate_lock *turn) {
  uint32_t state = 0;
  if (compare_swap(&turn->word, &state, 1)) return 0;
  uint64_t end = sys_nanoseconds() + LEDGER_PATIENCE_MS * UINT64_C(1000000);
  while (exchange_acquire(&turn->word, 2U) != 0) {
    uint64_t now = sys_nanoseconds();
    if (now >= end) return 1;
    sys_futex_wait(&turn->word, 2, end - now, FUTEX_PRIVATE_);
  }
  return 0;
}

static CUresult alloc_in_turn(struct pool_request *r, CUmemoryPool pool, CUdevice ordinal) {
  for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
    struct growth g;
    if (grow_begin(&g, (uint64_t)pool, ordinal, r->bytes)) return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = r->call(r);
    if (!grow_end(&g, result, result == CUDA_SUCCESS ? *r->address : 0, r->bytes)) return result;
    r->undo(r);
    struct map_entry entry;
    if (map_remove(*r->address, KIND_POOLED, &entry)) pool_freed(&entry);
    pools_shrink(g.row->device, UINT64_MAX);
  }
  return CUDA_ERROR_OUT_OF_MEMORY;
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
  struct gate_lock *turn = &hook_state()->pool_turn;
  if (pool_turn_take(turn)) return CUDA_ERROR_OUT_OF_MEMORY;
  CUresult result = alloc_in_turn(r, pool, ordinal);
  gate_unlock(turn);
  return result;
}

CUresult pool_free_now(CUdeviceptr address, CUstream stream, CUresult (*call)(CUdeviceptr, CUstream)) {
  struct map_entry entry;
  int pooled = map_remove(address, KIND_POOLED, &entry);
  int found = pooled || map_remove(address, KIND_LINEAR, &entry);
  CUresult result = freed(call(address, stream), found, &entry);
  if (pooled && result == CUDA_SUCCESS) pool_freed(&entry);
  return result;
}

CUresult pool_free(CUdeviceptr address, CUstream stream, int per_thread, CUresult (*call)(CUdeviceptr, CUstream)) {
  // A captured free is a node: what it frees was allocated by the graph.
  if (address == 0 || stream_is_capturing(stream, per_thread)) return call(address, stream);
  return pool_free_now(address, stream, call);
}
