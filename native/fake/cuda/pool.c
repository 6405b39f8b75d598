// SPDX-License-Identifier: Apache-2.0
// Streams, and memory pools with what they reserve: allocations raise it by whole steps, frees leave it, a synchronisation or a
// trim lowers it, to whole pages. One that was destroyed keeps all of it until its last allocation is freed. Work on streams is done at once here, so a free is complete when the call returns.
#include "fake.h"

#include <stdlib.h>
#include <string.h>

struct pool {
  CUmemPoolProps props;
  int device;
  bool default_pool, doomed, imported;
  uint64_t threshold, reserved, reserved_high, used, used_high;
  int flags[4]; /* the reuse policies, by number */
};
static struct pool default_pools[MAX_DEVICES];
static uint64_t default_handles[MAX_DEVICES], current_handles[MAX_DEVICES];
static struct pool host_pool, managed_pool;
static uint64_t host_handle, managed_handle;

static uint64_t max(uint64_t a, uint64_t b) { return a > b ? a : b; }
static bool on_card(const struct pool *pool) { return pool->props.location.type == CU_MEM_LOCATION_TYPE_DEVICE && !pool->imported; }
static struct pool *pool_of(CUmemoryPool handle) { return object_get((uintptr_t)handle, OBJECT_POOL); }

static uint64_t begin(struct pool *pool, int type, int location, int device) {
  *pool = (struct pool){.device = device, .default_pool = true, .flags = {0, 1, 1, 1}};
  pool->props.allocType = type;
  pool->props.location = (CUmemLocation){location, device};
  return object_new(OBJECT_POOL, pool);
}

void pools_init(void) {
  for (int i = 0; i < knobs.devices; i++)
    current_handles[i] = default_handles[i] = begin(&default_pools[i], CU_MEM_ALLOCATION_TYPE_PINNED, CU_MEM_LOCATION_TYPE_DEVICE, i);
  host_handle = begin(&host_pool, CU_MEM_ALLOCATION_TYPE_PINNED, CU_MEM_LOCATION_TYPE_HOST, 0);
  managed_handle = begin(&managed_pool, CU_MEM_ALLOCATION_TYPE_MANAGED, CU_MEM_LOCATION_TYPE_DEVICE, 0);
}

/* ---- the lock is held in what follows ---- */
static void shrink(struct pool *pool, uint64_t keep) {
  const uint64_t page = 2u << 20;
  uint64_t target = round_up(max(pool->used, keep), knobs.pool_grain && knobs.pool_grain < page ? knobs.pool_grain : page);
  if (pool->reserved <= target) return;
  if (on_card(pool)) card_give(pool->device, pool->reserved - target);
  pool->reserved = target;
}

static bool grow(struct pool *pool, uint64_t bytes) {
  uint64_t need = pool->used + bytes, step = knobs.pool_grain ? knobs.pool_grain : 1;
  if (need <= pool->reserved) return true;
  if (pool->props.maxSize && need > pool->props.maxSize) return false;
  uint64_t more = round_up(need - pool->reserved, step), least = round_up(need - pool->reserved, 2u << 20);
  if (pool->props.maxSize && pool->reserved + more > pool->props.maxSize) more = pool->props.maxSize - pool->reserved;
  if (on_card(pool) && !card_take(pool->device, more)) {
    /* What other pools of the device keep unused goes first, then only as much as is needed is asked for. */
    uint32_t at = 0;
    uint64_t handle;
    for (struct pool *other; (other = object_next(OBJECT_POOL, &at, &handle));)
      if (other->device == pool->device && other != pool) shrink(other, 0);
    if (!card_take(pool->device, more)) {
      if (least >= more || !card_take(pool->device, least)) return false;
      more = least;
    }
  }
  pool->reserved += more;
  pool->reserved_high = max(pool->reserved_high, pool->reserved);
  return true;
}

static CUresult allocate(CUdeviceptr *out, uint64_t bytes, struct pool *pool, struct context *context) {
  uint64_t rounded = round_up(bytes, 512);
  if (pool->imported) return CUDA_ERROR_INVALID_VALUE;
  if (rounded == UINT64_MAX || rounded > UINT64_MAX - pool->used || !grow(pool, rounded)) return CUDA_ERROR_OUT_OF_MEMORY;
  CUdeviceptr address = block_new(context, pool->device, BLOCK_POOL, bytes, 0, pool);
  if (!address) return CUDA_ERROR_OUT_OF_MEMORY;
  pool->used += rounded;
  pool->used_high = max(pool->used_high, pool->used);
  *out = address;
  return CUDA_SUCCESS;
}

void pools_settle(int device) {
  uint32_t at = 0;
  uint64_t handle;
  for (struct pool *pool; (pool = object_next(OBJECT_POOL, &at, &handle));)
    if (pool->device == device) shrink(pool, pool->threshold);
}

static void drop(struct pool *pool) {
  if (pool->used) return;
  shrink(pool, 0);
  free(pool);
}

static CUresult give_back(CUdeviceptr base, struct block *block) {
  struct pool *pool = block->owner;
  uint64_t bytes = round_up(block->size, 512);
  if (!block_end(base, block, BLOCK_POOL)) return CUDA_ERROR_INVALID_VALUE;
  if (!pool->imported) pool->used -= bytes;
  if (pool->doomed) drop(pool);
  return CUDA_SUCCESS;
}

CUresult pool_free(CUdeviceptr base, struct block *block) {
  CUresult result;
  LOCKED(result = give_back(base, block));
  return result;
}

/* ---- streams ---- */
static struct stream default_stream[MAX_DEVICES], thread_stream[MAX_DEVICES];

static struct stream *stream_for(CUstream handle, int device, bool per_thread) {
  uintptr_t value = (uintptr_t)handle;
  if (value == 1 || (value == 0 && !per_thread)) return &default_stream[device];
  if (value == 2 || value == 0) return &thread_stream[device];
  return object_get(value, OBJECT_STREAM);
}
struct stream *stream_of(CUstream handle) { return object_get((uintptr_t)handle, OBJECT_STREAM); }

void context_ended(struct context *context) {
  uint32_t at = 0;
  uint64_t handle;
  for (struct stream *stream; (stream = object_next(OBJECT_STREAM, &at, &handle));)
    if (stream->context == context) object_drop(handle), free(stream);
}

static CUresult stream_create(CUstream *out) {
  CURRENT(context);
  if (!out) return CUDA_ERROR_INVALID_VALUE;
  struct stream *stream = calloc(1, sizeof *stream);
  if (!stream) return CUDA_ERROR_OUT_OF_MEMORY;
  stream->context = context;
  LOCKED(*out = (CUstream)(uintptr_t)object_new(OBJECT_STREAM, stream));
  return CUDA_SUCCESS;
}
API CUresult cuStreamCreate(CUstream *out, unsigned int flags) {
  ENTER();
  (void)flags;
  return stream_create(out);
}
API CUresult cuStreamCreateWithPriority(CUstream *out, unsigned int flags, int priority) {
  ENTER();
  (void)flags, (void)priority;
  return stream_create(out);
}
static CUresult stream_destroy(CUstream handle) {
  struct stream *stream;
  LOCKED(stream = stream_of(handle); if (stream) object_drop((uintptr_t)handle));
  free(stream);
  return stream ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}
API CUresult cuStreamDestroy(CUstream handle) {
  ENTER();
  return stream_destroy(handle);
}
API CUresult cuStreamDestroy_v2(CUstream handle) {
  ENTER();
  return stream_destroy(handle);
}
static CUresult synchronize(CUstream handle, bool per_thread) {
  CURRENT(context);
  pthread_mutex_lock(&fake_lock);
  struct stream *stream = stream_for(handle, context->device, per_thread);
  CUresult result = !stream ? CUDA_ERROR_INVALID_HANDLE : stream->capturing ? CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED : CUDA_SUCCESS;
  if (!result) pools_settle(stream->context ? stream->context->device : context->device);
  pthread_mutex_unlock(&fake_lock);
  return result;
}
API CUresult cuStreamSynchronize(CUstream stream) {
  ENTER();
  return synchronize(stream, false);
}
API CUresult cuStreamSynchronize_ptsz(CUstream stream) {
  ENTER();
  return synchronize(stream, true);
}
API CUresult cuStreamQuery(CUstream stream) {
  ENTER();
  (void)stream;
  return CUDA_SUCCESS;
}
API CUresult cuStreamQuery_ptsz(CUstream stream) {
  ENTER();
  (void)stream;
  return CUDA_SUCCESS;
}
API CUresult cuStreamWaitEvent(CUstream stream, uint64_t event, unsigned int flags) {
  ENTER();
  (void)stream, (void)event, (void)flags;
  return CUDA_SUCCESS;
}

/* ---- capture: what is called meanwhile becomes nodes of a graph ---- */
static CUresult capture_begin(CUstream handle, bool per_thread) {
  CURRENT(context);
  CUresult result = CUDA_SUCCESS;
  pthread_mutex_lock(&fake_lock);
  struct stream *stream = stream_for(handle, context->device, per_thread);
  if (!stream) result = CUDA_ERROR_INVALID_HANDLE;
  else if (stream->capturing || stream == &default_stream[context->device]) result = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  else if (!(stream->capturing = graph_new(&stream->capture_handle))) result = CUDA_ERROR_OUT_OF_MEMORY;
  pthread_mutex_unlock(&fake_lock);
  return result;
}
static CUresult capture_end(CUstream handle, CUgraph *out, bool per_thread) {
  CURRENT(context);
  CUresult result = CUDA_SUCCESS;
  pthread_mutex_lock(&fake_lock);
  struct stream *stream = stream_for(handle, context->device, per_thread);
  if (!stream || !out) result = CUDA_ERROR_INVALID_VALUE;
  else if (!stream->capturing) result = CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
  else {
    *out = (CUgraph)(uintptr_t)stream->capture_handle;
    stream->capturing = NULL;
  }
  pthread_mutex_unlock(&fake_lock);
  return result;
}
static CUresult is_capturing(CUstream handle, int *status, uint64_t *id, bool per_thread) {
  CURRENT(context);
  CUresult result = CUDA_SUCCESS;
  pthread_mutex_lock(&fake_lock);
  struct stream *stream = stream_for(handle, context->device, per_thread);
  if (!stream || !status) result = CUDA_ERROR_INVALID_VALUE;
  else *status = stream->capturing ? 1 : 0;
  if (!result && id) *id = stream->capturing ? stream->capture_handle : 0;
  pthread_mutex_unlock(&fake_lock);
  return result;
}
#define CAPTURE(suffix, per_thread)                                                           \
  API CUresult cuStreamBeginCapture##suffix(CUstream stream) {                                \
    ENTER();                                                                                  \
    return capture_begin(stream, per_thread);                                                 \
  }                                                                                           \
  API CUresult cuStreamBeginCapture_v2##suffix(CUstream stream, int mode) {                   \
    ENTER();                                                                                  \
    (void)mode;                                                                               \
    return capture_begin(stream, per_thread);                                                 \
  }                                                                                           \
  API CUresult cuStreamEndCapture##suffix(CUstream stream, CUgraph *graph) {                  \
    ENTER();                                                                                  \
    return capture_end(stream, graph, per_thread);                                            \
  }                                                                                           \
  API CUresult cuStreamIsCapturing##suffix(CUstream stream, int *status) {                    \
    ENTER();                                                                                  \
    return is_capturing(stream, status, NULL, per_thread);                                    \
  }                                                                                           \
  API CUresult cuStreamGetCaptureInfo##suffix(CUstream stream, int *status, uint64_t *id) {   \
    ENTER();                                                                                  \
    return is_capturing(stream, status, id, per_thread);                                      \
  }
CAPTURE(, false)
CAPTURE(_ptsz, true)
static CUresult capture_info(CUstream stream, int *status, uint64_t *id, CUgraph *graph, const CUgraphNode **nodes, size_t *count,
                             bool per_thread) {
  uint64_t handle = 0;
  CUresult result = is_capturing(stream, status, &handle, per_thread);
  if (result) return result;
  if (id) *id = handle;
  if (graph) *graph = (CUgraph)(uintptr_t)handle;
  if (nodes) *nodes = NULL;
  if (count) *count = 0;
  return CUDA_SUCCESS;
}
#define CAPTURE_INFO(suffix, per_thread)                                                                                     \
  API CUresult cuStreamGetCaptureInfo_v2##suffix(CUstream stream, int *status, uint64_t *id, CUgraph *graph,                 \
                                                 const CUgraphNode **nodes, size_t *count) {                                 \
    ENTER();                                                                                                                 \
    return capture_info(stream, status, id, graph, nodes, count, per_thread);                                                \
  }                                                                                                                          \
  API CUresult cuStreamGetCaptureInfo_v3##suffix(CUstream stream, int *status, uint64_t *id, CUgraph *graph,                 \
                                                 const CUgraphNode **nodes, const void **edges, size_t *count) {             \
    ENTER();                                                                                                                 \
    if (edges) *edges = NULL;                                                                                                \
    return capture_info(stream, status, id, graph, nodes, count, per_thread);                                                \
  }
CAPTURE_INFO(, false)
CAPTURE_INFO(_ptsz, true)

/* ---- allocations ---- */
static CUresult alloc_async(CUdeviceptr *out, size_t bytes, CUmemoryPool from, CUstream handle, bool per_thread, bool named) {
  CURRENT(context);
  if (!out || !bytes) return CUDA_ERROR_INVALID_VALUE;
  CUresult result = CUDA_ERROR_INVALID_HANDLE;
  pthread_mutex_lock(&fake_lock);
  struct stream *stream = stream_for(handle, context->device, per_thread);
  if (stream) {
    int device = stream->context ? stream->context->device : context->device;
    struct pool *pool = named ? pool_of(from) : object_get(current_handles[device], OBJECT_POOL);
    if (!pool) result = CUDA_ERROR_INVALID_VALUE;
    else if (stream->capturing) result = graph_capture_alloc(stream->capturing, pool->device, bytes, out);
    else result = allocate(out, bytes, pool, stream->context ? stream->context : context);
  }
  pthread_mutex_unlock(&fake_lock);
  return result;
}
static CUresult free_async(CUdeviceptr address, CUstream handle, bool per_thread) {
  CURRENT(context);
  CUdeviceptr base;
  CUresult result = CUDA_ERROR_INVALID_VALUE;
  pthread_mutex_lock(&fake_lock);
  struct stream *stream = stream_for(handle, context->device, per_thread);
  struct block *block = block_of(address, &base);
  enum block_kind kind = block && base == address ? (enum block_kind)atomic_load(&block->kind) : BLOCK_FREE;
  if (!stream) result = CUDA_ERROR_INVALID_HANDLE;
  else if (stream->capturing) result = graph_capture_free(stream->capturing, address);
  else if (kind == BLOCK_POOL) result = give_back(base, block);
  else if (kind == BLOCK_LINEAR) result = block_end(base, block, kind) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
  pthread_mutex_unlock(&fake_lock);
  return kind == BLOCK_GRAPH && result == CUDA_ERROR_INVALID_VALUE ? graph_free_now(base, block) : result;
}
#define ASYNC(suffix, per_thread)                                                                                    \
  API CUresult cuMemAllocAsync##suffix(CUdeviceptr *out, size_t bytes, CUstream stream) {                            \
    ENTER();                                                                                                         \
    return alloc_async(out, bytes, NULL, stream, per_thread, false);                                                 \
  }                                                                                                                  \
  API CUresult cuMemAllocFromPoolAsync##suffix(CUdeviceptr *out, size_t bytes, CUmemoryPool pool, CUstream stream) { \
    ENTER();                                                                                                         \
    return alloc_async(out, bytes, pool, stream, per_thread, true);                                                  \
  }                                                                                                                  \
  API CUresult cuMemFreeAsync##suffix(CUdeviceptr address, CUstream stream) {                                        \
    ENTER();                                                                                                         \
    return free_async(address, stream, per_thread);                                                                  \
  }
ASYNC(, false)
ASYNC(_ptsz, true)

/* ---- pools ---- */
API CUresult cuMemPoolCreate(CUmemoryPool *out, const CUmemPoolProps *props) {
  ENTER();
  if (!out || !props) return CUDA_ERROR_INVALID_VALUE;
  int location = props->location.type;
  bool device = location == CU_MEM_LOCATION_TYPE_DEVICE;
  if (props->allocType != CU_MEM_ALLOCATION_TYPE_PINNED && props->allocType != CU_MEM_ALLOCATION_TYPE_MANAGED)
    return CUDA_ERROR_INVALID_VALUE;
  if (device && (props->location.id < 0 || props->location.id >= knobs.devices)) return CUDA_ERROR_INVALID_DEVICE;
  struct pool *pool = calloc(1, sizeof *pool);
  if (!pool) return CUDA_ERROR_OUT_OF_MEMORY;
  pthread_mutex_lock(&fake_lock);
  *out = (CUmemoryPool)(uintptr_t)begin(pool, props->allocType, location, device ? props->location.id : 0);
  pool->props = *props;
  pool->default_pool = false;
  pthread_mutex_unlock(&fake_lock);
  return CUDA_SUCCESS;
}
API CUresult cuMemPoolDestroy(CUmemoryPool handle) {
  ENTER();
  CUresult result = CUDA_ERROR_INVALID_VALUE;
  pthread_mutex_lock(&fake_lock);
  struct pool *pool = pool_of(handle);
  if (pool && !pool->default_pool) {
    for (int i = 0; i < knobs.devices; i++)
      if (current_handles[i] == (uintptr_t)handle) current_handles[i] = default_handles[i];
    object_drop((uintptr_t)handle);
    pool->doomed = true;
    drop(pool);
    result = CUDA_SUCCESS;
  }
  pthread_mutex_unlock(&fake_lock);
  return result;
}
API CUresult cuMemPoolTrimTo(CUmemoryPool handle, size_t keep) {
  ENTER();
  struct pool *pool;
  LOCKED(pool = pool_of(handle); if (pool) shrink(pool, keep));
  return pool ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

static CUresult set_attribute(struct pool *pool, int attribute, const void *value) {
  if (attribute >= 1 && attribute <= 3) {
    memcpy(&pool->flags[attribute], value, sizeof(int));
    return CUDA_SUCCESS;
  }
  uint64_t number;
  memcpy(&number, value, sizeof number);
  if (attribute == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD) pool->threshold = number;
  else if (attribute == CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH && !number) pool->reserved_high = pool->reserved;
  else if (attribute == CU_MEMPOOL_ATTR_USED_MEM_HIGH && !number) pool->used_high = pool->used;
  else return CUDA_ERROR_INVALID_VALUE;
  return CUDA_SUCCESS;
}
static CUresult get_attribute(const struct pool *pool, int attribute, void *value) {
  if (attribute >= 1 && attribute <= 3) {
    memcpy(value, &pool->flags[attribute], sizeof(int));
    return CUDA_SUCCESS;
  }
  const uint64_t numbers[] = {pool->threshold, pool->reserved, pool->reserved_high, pool->used, pool->used_high};
  if (attribute < CU_MEMPOOL_ATTR_RELEASE_THRESHOLD || attribute > CU_MEMPOOL_ATTR_USED_MEM_HIGH) return CUDA_ERROR_INVALID_VALUE;
  memcpy(value, &numbers[attribute - CU_MEMPOOL_ATTR_RELEASE_THRESHOLD], sizeof *numbers);
  return CUDA_SUCCESS;
}
API CUresult cuMemPoolSetAttribute(CUmemoryPool handle, int attribute, void *value) {
  ENTER();
  CUresult result;
  struct pool *pool;
  LOCKED(pool = pool_of(handle); result = pool && value ? set_attribute(pool, attribute, value) : CUDA_ERROR_INVALID_VALUE);
  return result;
}
API CUresult cuMemPoolGetAttribute(CUmemoryPool handle, int attribute, void *value) {
  ENTER();
  CUresult result;
  struct pool *pool;
  LOCKED(pool = pool_of(handle); result = pool && value ? get_attribute(pool, attribute, value) : CUDA_ERROR_INVALID_VALUE);
  return result;
}
API CUresult cuMemPoolSetAccess(CUmemoryPool handle, const CUmemAccessDesc *map, size_t count) {
  ENTER();
  (void)map, (void)count;
  struct pool *pool;
  LOCKED(pool = pool_of(handle));
  return pool ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

static CUresult get_pool(CUmemoryPool *out, CUdevice device, const uint64_t *handles) {
  if (!out) return CUDA_ERROR_INVALID_VALUE;
  if (device < 0 || device >= knobs.devices) return CUDA_ERROR_INVALID_DEVICE;
  LOCKED(*out = (CUmemoryPool)(uintptr_t)handles[device]);
  return CUDA_SUCCESS;
}
static CUresult set_pool(CUdevice device, CUmemoryPool handle) {
  if (device < 0 || device >= knobs.devices) return CUDA_ERROR_INVALID_DEVICE;
  struct pool *pool;
  LOCKED(pool = pool_of(handle); if (pool && pool->device == device) current_handles[device] = (uintptr_t)handle);
  return pool && pool->device == device ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
API CUresult cuDeviceGetDefaultMemPool(CUmemoryPool *out, CUdevice device) {
  ENTER();
  return get_pool(out, device, default_handles);
}
API CUresult cuDeviceGetMemPool(CUmemoryPool *out, CUdevice device) {
  ENTER();
  return get_pool(out, device, current_handles);
}
API CUresult cuDeviceSetMemPool(CUdevice device, CUmemoryPool pool) {
  ENTER();
  return set_pool(device, pool);
}
static CUresult located(CUmemoryPool *out, const CUmemLocation *location, int type, const uint64_t *handles) {
  if (!out || !location) return CUDA_ERROR_INVALID_VALUE;
  if (type == CU_MEM_ALLOCATION_TYPE_MANAGED || location->type != CU_MEM_LOCATION_TYPE_DEVICE) {
    *out = (CUmemoryPool)(uintptr_t)(type == CU_MEM_ALLOCATION_TYPE_MANAGED ? managed_handle : host_handle);
    return CUDA_SUCCESS;
  }
  return get_pool(out, location->id, handles);
}
API CUresult cuMemGetDefaultMemPool(CUmemoryPool *out, CUmemLocation *location, int type) {
  ENTER();
  return located(out, location, type, default_handles);
}
API CUresult cuMemGetMemPool(CUmemoryPool *out, CUmemLocation *location, int type) {
  ENTER();
  return located(out, location, type, current_handles);
}
API CUresult cuMemSetMemPool(CUmemLocation *location, int type, CUmemoryPool pool) {
  ENTER();
  if (!location || location->type != CU_MEM_LOCATION_TYPE_DEVICE || type != CU_MEM_ALLOCATION_TYPE_PINNED)
    return CUDA_ERROR_INVALID_VALUE;
  return set_pool(location->id, pool);
}

/* ---- pools of another process: its memory, so it costs nothing here ---- */
API CUresult cuMemPoolExportToShareableHandle(void *out, CUmemoryPool handle, int type, unsigned long long flags) {
  ENTER();
  struct pool *pool;
  LOCKED(pool = pool_of(handle));
  if (!pool || !out || flags || type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR) return CUDA_ERROR_INVALID_VALUE;
  *(int *)out = pool->device + 1000; /* stands for a descriptor; the fake's import reads the device from it */
  return CUDA_SUCCESS;
}
API CUresult cuMemPoolImportFromShareableHandle(CUmemoryPool *out, void *shared, int type, unsigned long long flags) {
  ENTER();
  int device = (int)(intptr_t)shared - 1000;
  if (!out || flags || type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR) return CUDA_ERROR_INVALID_VALUE;
  CUmemPoolProps props = {.allocType = CU_MEM_ALLOCATION_TYPE_PINNED, .location = {CU_MEM_LOCATION_TYPE_DEVICE, device}};
  CUresult result = cuMemPoolCreate(out, &props);
  if (!result) LOCKED(pool_of(*out)->imported = true);
  return result;
}
static const uint64_t shared_magic = 0x6c6f6f70656b6166;
API CUresult cuMemPoolExportPointer(CUmemPoolPtrExportData *out, CUdeviceptr address) {
  ENTER();
  CUdeviceptr base;
  struct block *block = block_of(address, &base);
  if (!out || !block || atomic_load(&block->kind) != BLOCK_POOL) return CUDA_ERROR_INVALID_VALUE;
  memcpy(out->reserved, (uint64_t[]){shared_magic, block->size}, 16);
  return CUDA_SUCCESS;
}
API CUresult cuMemPoolImportPointer(CUdeviceptr *out, CUmemoryPool handle, CUmemPoolPtrExportData *data) {
  ENTER();
  CURRENT(context);
  uint64_t read[2];
  if (!out || !data) return CUDA_ERROR_INVALID_VALUE;
  memcpy(read, data->reserved, sizeof read);
  CUresult result = CUDA_ERROR_INVALID_VALUE;
  pthread_mutex_lock(&fake_lock);
  struct pool *pool = pool_of(handle);
  if (pool && pool->imported && read[0] == shared_magic) {
    *out = block_new(context, pool->device, BLOCK_POOL, read[1], 0, pool);
    result = *out ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
  }
  pthread_mutex_unlock(&fake_lock);
  return result;
}
