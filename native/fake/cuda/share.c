// SPDX-License-Identifier: Apache-2.0
// Memory of others: IPC handles (the exporter pays) and memory that another interface allocated. Unlike a real driver this one
// lets a process open its own IPC handle, so that one process can test both sides.
#include "fake.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct ipc {
  uint64_t magic, size, base;
  int device, process;
};
static const uint64_t ipc_magic = 0x6370696b6166;

API CUresult cuIpcGetMemHandle(CUipcMemHandle *out, CUdeviceptr address) {
  ENTER();
  CUdeviceptr base;
  struct block *block = block_of(address, &base);
  if (!out || !block || atomic_load(&block->kind) != BLOCK_LINEAR) return CUDA_ERROR_INVALID_VALUE;
  struct ipc ipc = {.magic = ipc_magic, .size = block->size, .base = base, .device = block->device, .process = getpid()};
  memset(out, 0, sizeof *out);
  memcpy(out->reserved, &ipc, sizeof ipc);
  return CUDA_SUCCESS;
}

static struct opened {
  struct opened *next;
  struct ipc ipc;
  CUdeviceptr address;
} *opened;

/* The same handle opened twice is the same address, closed as often. */
static CUresult open_handle(CUdeviceptr *out, CUipcMemHandle handle) {
  CURRENT(context);
  struct ipc ipc;
  memcpy(&ipc, handle.reserved, sizeof ipc);
  if (!out || ipc.magic != ipc_magic || ipc.device >= knobs.devices) return CUDA_ERROR_INVALID_VALUE;
  CUresult result = CUDA_ERROR_OUT_OF_MEMORY;
  pthread_mutex_lock(&fake_lock);
  for (struct opened *at = opened; at && result; at = at->next) {
    CUdeviceptr base;
    struct block *block = memcmp(&at->ipc, &ipc, sizeof ipc) ? NULL : block_of(at->address, &base);
    if (!block || atomic_load(&block->kind) != BLOCK_IPC) continue;
    block->opens++;
    *out = at->address;
    result = CUDA_SUCCESS;
  }
  struct opened *entry = result ? malloc(sizeof *entry) : NULL;
  if (entry) {
    *entry = (struct opened){.next = opened, .ipc = ipc};
    entry->address = block_new(context, ipc.device, BLOCK_IPC, ipc.size, 0, entry);
    opened = entry;
    *out = entry->address;
    result = entry->address ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
  }
  pthread_mutex_unlock(&fake_lock);
  return result;
}
API CUresult cuIpcOpenMemHandle(CUdeviceptr *out, CUipcMemHandle handle, unsigned int flags) {
  ENTER();
  (void)flags;
  return open_handle(out, handle);
}
API CUresult cuIpcOpenMemHandle_v2(CUdeviceptr *out, CUipcMemHandle handle, unsigned int flags) {
  ENTER();
  (void)flags;
  return open_handle(out, handle);
}
API CUresult cuIpcCloseMemHandle(CUdeviceptr address) {
  ENTER();
  CUdeviceptr base;
  CUresult result = CUDA_ERROR_INVALID_VALUE;
  pthread_mutex_lock(&fake_lock);
  struct block *block = block_of(address, &base);
  if (block && base == address && atomic_load(&block->kind) == BLOCK_IPC) {
    result = CUDA_SUCCESS;
    if (block->opens) block->opens--;
    else {
      for (struct opened **at = &opened; *at; at = &(*at)->next) {
        if ((*at)->address != address) continue;
        struct opened *gone = *at;
        *at = gone->next;
        free(gone);
        break;
      }
      block_end(base, block, BLOCK_IPC);
    }
  }
  pthread_mutex_unlock(&fake_lock);
  return result;
}

/* ---- external memory ---- */
struct external {
  uint64_t size;
};
API CUresult cuImportExternalMemory(CUexternalMemory *out, const CUDA_EXTERNAL_MEMORY_HANDLE_DESC *description) {
  ENTER();
  if (!out || !description || !description->size) return CUDA_ERROR_INVALID_VALUE;
  struct external *external = malloc(sizeof *external);
  if (!external) return CUDA_ERROR_OUT_OF_MEMORY;
  external->size = description->size;
  LOCKED(*out = (CUexternalMemory)(uintptr_t)object_new(OBJECT_EXTERNAL, external));
  return CUDA_SUCCESS;
}
API CUresult cuExternalMemoryGetMappedBuffer(CUdeviceptr *out, CUexternalMemory handle, const CUDA_EXTERNAL_MEMORY_BUFFER_DESC *part) {
  ENTER();
  CURRENT(context);
  struct external *external;
  LOCKED(external = object_get((uintptr_t)handle, OBJECT_EXTERNAL));
  if (!external || !out || !part || !part->size || part->size > external->size || part->offset > external->size - part->size)
    return CUDA_ERROR_INVALID_VALUE;
  *out = block_new(context, context->device, BLOCK_EXTERNAL, part->size, 0, external);
  return *out ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}
API CUresult cuExternalMemoryGetMappedMipmappedArray(uint64_t *out, CUexternalMemory handle,
                                                     const CUDA_EXTERNAL_MEMORY_MIPMAPPED_ARRAY_DESC *part) {
  ENTER();
  (void)out, (void)handle, (void)part;
  return CUDA_ERROR_NOT_SUPPORTED;
}
API CUresult cuDestroyExternalMemory(CUexternalMemory handle) {
  ENTER();
  struct external *external;
  LOCKED(external = object_get((uintptr_t)handle, OBJECT_EXTERNAL); if (external) object_drop((uintptr_t)handle));
  free(external);
  return external ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}
