// SPDX-License-Identifier: Apache-2.0
// Linear, pitched and managed memory, and what asks about memory.
#include "fake.h"

#include <stdlib.h>

static CUresult allocate(CUdeviceptr *out, uint64_t size, enum block_kind kind) {
  CURRENT(context);
  uint64_t charged = card_bytes(size);
  CUdeviceptr address = block_new(context, context->device, kind, size, charged, NULL);
  if (unlikely(!address)) return CUDA_ERROR_OUT_OF_MEMORY;
  *out = address;
  return CUDA_SUCCESS;
}

API CUresult cuMemAlloc_v2(CUdeviceptr *out, size_t bytes) {
  ENTER();
  if (unlikely(!out || !bytes)) return CUDA_ERROR_INVALID_VALUE;
  return allocate(out, bytes, BLOCK_LINEAR);
}

API CUresult cuMemFree_v2(CUdeviceptr address) {
  ENTER();
  if (!address) return CUDA_SUCCESS;
  CUdeviceptr base;
  struct block *block = block_of(address, &base);
  if (unlikely(!block || base != address)) return CUDA_ERROR_INVALID_VALUE;
  enum block_kind kind = (enum block_kind)atomic_load_explicit(&block->kind, memory_order_relaxed);
  switch (kind) {
    case BLOCK_LINEAR:
    case BLOCK_MANAGED:
    case BLOCK_EXTERNAL: return block_end(base, block, kind) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    case BLOCK_POOL: return pool_free(base, block);
    case BLOCK_GRAPH: return graph_free_now(base, block);
    case BLOCK_FREE:
    case BLOCK_RANGE:
    case BLOCK_IPC: break;
  }
  return CUDA_ERROR_INVALID_VALUE;
}

API CUresult cuMemAllocPitch_v2(CUdeviceptr *out, size_t *pitch, size_t width, size_t height, unsigned int element) {
  ENTER();
  if (!out || !pitch || !width || !height) return CUDA_ERROR_INVALID_VALUE;
  if (element != 4 && element != 8 && element != 16) return CUDA_ERROR_INVALID_VALUE;
  uint64_t row = round_up(width, knobs.pitch);
  CUresult result = allocate(out, times(row, height), BLOCK_LINEAR);
  if (!result) *pitch = (size_t)row;
  return result;
}

API CUresult cuMemAllocManaged(CUdeviceptr *out, size_t bytes, unsigned int flags) {
  ENTER();
  if (!out || !bytes || (flags != 1 && flags != 2)) return CUDA_ERROR_INVALID_VALUE;
  CUresult result = allocate(out, bytes, BLOCK_MANAGED);
  if (result) return result;
  CUdeviceptr base;
  struct block *block = block_of(*out, &base);
  if (block_back(base, block)) return CUDA_SUCCESS;
  block_end(base, block, BLOCK_MANAGED);
  return CUDA_ERROR_OUT_OF_MEMORY;
}

API CUresult cuMemGetInfo_v2(size_t *free_bytes, size_t *total) {
  ENTER();
  CURRENT(context);
  if (free_bytes) *free_bytes = (size_t)card_free(context->device);
  if (total) *total = (size_t)knobs.memory[context->device];
  return CUDA_SUCCESS;
}

API CUresult cuMemGetAddressRange_v2(CUdeviceptr *out, size_t *bytes, CUdeviceptr address) {
  ENTER();
  CUdeviceptr base;
  struct block *block = block_of(address, &base);
  if (!block) return CUDA_ERROR_INVALID_VALUE;
  if (out) *out = base;
  if (bytes) *bytes = (size_t)block->size;
  return CUDA_SUCCESS;
}

/* Of the attributes of an address: its context and its device. */
API CUresult cuPointerGetAttribute(void *data, int attribute, CUdeviceptr address) {
  ENTER();
  CUdeviceptr base;
  struct block *block = block_of(address, &base);
  if (!data || !block) return CUDA_ERROR_INVALID_VALUE;
  if (attribute == 1) *(void **)data = block->context;
  else if (attribute == 9) *(int *)data = block->device;
  else return CUDA_ERROR_NOT_SUPPORTED;
  return CUDA_SUCCESS;
}

/* ---- 32-bit addresses, as the first versions of the interface had: pieces of 1 MiB under 4 GiB, first that fits ---- */
enum { LOW_PIECES = 3072, LOW_SHIFT = 20, LOW_FIRST = 256 };
static struct low {
  uint32_t pieces, size;
  struct context *context;
} low[LOW_PIECES];

static CUresult low_new(CUdeviceptr_v1 *out, uint64_t size) {
  CURRENT(context);
  uint64_t pieces = (size + (1u << LOW_SHIFT) - 1) >> LOW_SHIFT;
  CUresult result = CUDA_ERROR_OUT_OF_MEMORY;
  uint64_t charged = card_bytes(size);
  if (!card_take(context->device, charged)) return result;
  pthread_mutex_lock(&fake_lock);
  for (uint32_t at = 0, run = 0; at < LOW_PIECES && result;) {
    run = low[at].pieces ? 0 : run + 1;
    at += low[at].pieces ? low[at].pieces : 1;
    if (run < pieces) continue;
    uint32_t first = at - run;
    low[first] = (struct low){.pieces = (uint32_t)pieces, .size = (uint32_t)size, .context = context};
    *out = (first + LOW_FIRST) << LOW_SHIFT;
    result = CUDA_SUCCESS;
  }
  pthread_mutex_unlock(&fake_lock);
  if (result) card_give(context->device, charged);
  return result;
}

/* Whose allocations under 4 GiB end with a context; the lock is held. */
static void low_end(struct low *piece) {
  card_give(piece->context->device, card_bytes(piece->size));
  *piece = (struct low){0};
}
void low_end_all(const struct context *context);
void low_end_all(const struct context *context) {
  for (int i = 0; i < LOW_PIECES; i++)
    if (low[i].pieces && low[i].context == context) low_end(&low[i]);
}

API CUresult cuMemAlloc(CUdeviceptr_v1 *out, unsigned int bytes) {
  ENTER();
  return out && bytes ? low_new(out, bytes) : CUDA_ERROR_INVALID_VALUE;
}

API CUresult cuMemFree(CUdeviceptr_v1 address) {
  ENTER();
  if (!address) return CUDA_SUCCESS;
  uint32_t at = (address >> LOW_SHIFT) - LOW_FIRST;
  if (address & ((1u << LOW_SHIFT) - 1) || at >= LOW_PIECES) return CUDA_ERROR_INVALID_VALUE;
  pthread_mutex_lock(&fake_lock);
  bool live = low[at].pieces;
  if (live) low_end(&low[at]);
  pthread_mutex_unlock(&fake_lock);
  return live ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

API CUresult cuMemAllocPitch(CUdeviceptr_v1 *out, unsigned int *pitch, unsigned int width, unsigned int height, unsigned int element) {
  ENTER();
  if (!out || !pitch || !width || !height || (element != 4 && element != 8 && element != 16)) return CUDA_ERROR_INVALID_VALUE;
  uint64_t row = round_up(width, knobs.pitch), bytes = times(row, height);
  if (row > UINT32_MAX || bytes > UINT32_MAX) return CUDA_ERROR_OUT_OF_MEMORY;
  CUresult result = low_new(out, bytes);
  if (!result) *pitch = (unsigned int)row;
  return result;
}

static unsigned int capped(uint64_t bytes) { return bytes > UINT32_MAX ? UINT32_MAX : (unsigned int)bytes; }

API CUresult cuMemGetInfo(unsigned int *free_bytes, unsigned int *total) {
  ENTER();
  CURRENT(context);
  if (free_bytes) *free_bytes = capped(card_free(context->device));
  if (total) *total = capped(knobs.memory[context->device]);
  return CUDA_SUCCESS;
}

API CUresult cuDeviceTotalMem(unsigned int *bytes, CUdevice device) {
  ENTER();
  if (!bytes) return CUDA_ERROR_INVALID_VALUE;
  if (device < 0 || device >= knobs.devices) return CUDA_ERROR_INVALID_DEVICE;
  *bytes = capped(knobs.memory[device]);
  return CUDA_SUCCESS;
}

/* ---- host memory costs no device memory ---- */
static CUresult host_new(void **out, size_t bytes) {
  if (!out || !bytes) return CUDA_ERROR_INVALID_VALUE;
  *out = aligned_alloc(4096, (size_t)round_up(bytes, 4096));
  return *out ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}
API CUresult cuMemAllocHost_v2(void **out, size_t bytes) {
  ENTER();
  return host_new(out, bytes);
}
API CUresult cuMemHostAlloc(void **out, size_t bytes, unsigned int flags) {
  ENTER();
  (void)flags;
  return host_new(out, bytes);
}
API CUresult cuMemFreeHost(void *memory) {
  ENTER();
  free(memory);
  return CUDA_SUCCESS;
}
API CUresult cuMemHostRegister_v2(void *memory, size_t bytes, unsigned int flags) {
  ENTER();
  (void)flags;
  return memory && bytes ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
API CUresult cuMemHostUnregister(void *memory) {
  ENTER();
  return memory ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
