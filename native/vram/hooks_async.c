// SPDX-License-Identifier: Apache-2.0
// Entry points of stream-ordered memory, and those after which a driver lets a pool's memory go.
#include "hooks_pool.h"

CUresult hook_cuMemAllocAsync(CUdeviceptr *address, size_t bytes, CUstream stream);
CUresult hook_cuMemAllocAsync_ptsz(CUdeviceptr *address, size_t bytes, CUstream stream);
CUresult hook_cuMemAllocFromPoolAsync(CUdeviceptr *address, size_t bytes, CUmemoryPool pool, CUstream stream);
CUresult hook_cuMemAllocFromPoolAsync_ptsz(CUdeviceptr *address, size_t bytes, CUmemoryPool pool, CUstream stream);
CUresult hook_cuMemFreeAsync(CUdeviceptr address, CUstream stream);
CUresult hook_cuMemFreeAsync_ptsz(CUdeviceptr address, CUstream stream);
CUresult hook_cuMemPoolCreate(CUmemoryPool *pool, const struct pool_properties *properties);
CUresult hook_cuMemPoolDestroy(CUmemoryPool pool);
CUresult hook_cuMemPoolTrimTo(CUmemoryPool pool, size_t keep);
CUresult hook_cuMemPoolSetAttribute(CUmemoryPool pool, int which, void *value);
CUresult hook_cuMemPoolImportFromShareableHandle(CUmemoryPool *pool, void *handle, int type, unsigned long long flags);
CUresult hook_cuMemGetDefaultMemPool(CUmemoryPool *pool, int *location, int type);
CUresult hook_cuMemGetMemPool(CUmemoryPool *pool, int *location, int type);
CUresult hook_cuStreamSynchronize(CUstream stream);
CUresult hook_cuStreamSynchronize_ptsz(CUstream stream);
CUresult hook_cuEventSynchronize(CUevent event);
CUresult hook_cuCtxSynchronize(void);
CUresult hook_cuCtxSynchronize_v2(CUcontext context);

static CUresult call(struct pool_request *r) { return NEXT(cuMemAllocAsync)(r->address, r->bytes, r->stream); }
static CUresult call_ptsz(struct pool_request *r) { return NEXT(cuMemAllocAsync_ptsz)(r->address, r->bytes, r->stream); }
static CUresult call_named(struct pool_request *r) { return NEXT(cuMemAllocFromPoolAsync)(r->address, r->bytes, r->pool, r->stream); }
static CUresult call_named_ptsz(struct pool_request *r) {
  return NEXT(cuMemAllocFromPoolAsync_ptsz)(r->address, r->bytes, r->pool, r->stream);
}
static void undo(struct pool_request *r) { NEXT(cuMemFreeAsync)(*r->address, r->stream); }
static void undo_ptsz(struct pool_request *r) { NEXT(cuMemFreeAsync_ptsz)(*r->address, r->stream); }

CUresult hook_cuMemAllocAsync(CUdeviceptr *address, size_t bytes, CUstream stream) {
  struct pool_request r = {address, bytes, NULL, stream, 0, 0, call, undo};
  return quota_active() ? pool_alloc(&r) : call(&r);
}

CUresult hook_cuMemAllocAsync_ptsz(CUdeviceptr *address, size_t bytes, CUstream stream) {
  struct pool_request r = {address, bytes, NULL, stream, 0, 1, call_ptsz, undo_ptsz};
  return quota_active() ? pool_alloc(&r) : call_ptsz(&r);
}

CUresult hook_cuMemAllocFromPoolAsync(CUdeviceptr *address, size_t bytes, CUmemoryPool pool, CUstream stream) {
  struct pool_request r = {address, bytes, pool, stream, 1, 0, call_named, undo};
  return quota_active() ? pool_alloc(&r) : call_named(&r);
}

CUresult hook_cuMemAllocFromPoolAsync_ptsz(CUdeviceptr *address, size_t bytes, CUmemoryPool pool, CUstream stream) {
  struct pool_request r = {address, bytes, pool, stream, 1, 1, call_named_ptsz, undo_ptsz};
  return quota_active() ? pool_alloc(&r) : call_named_ptsz(&r);
}

CUresult hook_cuMemFreeAsync(CUdeviceptr address, CUstream stream) {
  if (!quota_active()) return NEXT(cuMemFreeAsync)(address, stream);
  return pool_free(address, stream, 0, NEXT(cuMemFreeAsync));
}

CUresult hook_cuMemFreeAsync_ptsz(CUdeviceptr address, CUstream stream) {
  if (!quota_active()) return NEXT(cuMemFreeAsync_ptsz)(address, stream);
  return pool_free(address, stream, 1, NEXT(cuMemFreeAsync_ptsz));
}

CUresult hook_cuMemPoolCreate(CUmemoryPool *pool, const struct pool_properties *properties) {
  CUresult result = NEXT(cuMemPoolCreate)(pool, properties);
  if (result == CUDA_SUCCESS && quota_active()) pool_learn(*pool, properties->location, properties->id, properties->type);
  return result;
}

CUresult hook_cuMemPoolDestroy(CUmemoryPool pool) {
  return quota_active() && pools_known() ? pool_destroy(pool, NEXT(cuMemPoolDestroy)) : NEXT(cuMemPoolDestroy)(pool);
}

CUresult hook_cuMemPoolImportFromShareableHandle(CUmemoryPool *pool, void *handle, int type, unsigned long long flags) {
  CUresult result = NEXT(cuMemPoolImportFromShareableHandle)(pool, handle, type, flags);
  if (result == CUDA_SUCCESS && quota_active()) pool_learn_foreign(*pool);
  return result;
}

CUresult hook_cuMemGetDefaultMemPool(CUmemoryPool *pool, int *location, int type) {
  CUresult result = NEXT(cuMemGetDefaultMemPool)(pool, location, type);
  if (result == CUDA_SUCCESS && quota_active()) pool_learn(*pool, location[0], location[1], type);
  return result;
}

CUresult hook_cuMemGetMemPool(CUmemoryPool *pool, int *location, int type) {
  CUresult result = NEXT(cuMemGetMemPool)(pool, location, type);
  if (result == CUDA_SUCCESS && quota_active()) pool_learn(*pool, location[0], location[1], type);
  return result;
}

static CUresult settled(CUresult result) {
  if (pools_known() && quota_active()) pools_settle();
  return result;
}

CUresult hook_cuMemPoolTrimTo(CUmemoryPool pool, size_t keep) {
  if (!quota_active() || !pools_known()) return NEXT(cuMemPoolTrimTo)(pool, keep);
  return pool_trim(pool, keep, NEXT(cuMemPoolTrimTo));
}
CUresult hook_cuMemPoolSetAttribute(CUmemoryPool pool, int which, void *value) {
  if (!quota_active() || !pools_known() || value == NULL) return NEXT(cuMemPoolSetAttribute)(pool, which, value);
  return pool_set(pool, which, value, NEXT(cuMemPoolSetAttribute));
}
CUresult hook_cuStreamSynchronize(CUstream stream) { return settled(NEXT(cuStreamSynchronize)(stream)); }
CUresult hook_cuStreamSynchronize_ptsz(CUstream stream) { return settled(NEXT(cuStreamSynchronize_ptsz)(stream)); }
CUresult hook_cuEventSynchronize(CUevent event) { return settled(NEXT(cuEventSynchronize)(event)); }
CUresult hook_cuCtxSynchronize(void) { return settled(NEXT(cuCtxSynchronize)()); }
CUresult hook_cuCtxSynchronize_v2(CUcontext context) { return settled(NEXT(cuCtxSynchronize_v2)(context)); }
