// SPDX-License-Identifier: Apache-2.0
// Virtual memory management: physical memory lives until its last handle and its last mapping are gone.
#include "fake.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { GRANULARITY = 2 << 20 };
struct physical {
  CUmemAllocationProp prop;
  uint64_t size, handle;
  unsigned references, mappings;
  bool charged, imported;
  struct physical *of, *next; /* an import of this process's own: what it holds; all that live */
  uint64_t serial;
};
static struct physical *all;
static uint64_t serials;
struct mapping {
  struct mapping *next;
  CUdeviceptr address;
  uint64_t size;
  struct physical *memory;
};
static struct mapping *mappings;

static bool on_device(const CUmemAllocationProp *prop) { return prop->location.type == CU_MEM_LOCATION_TYPE_DEVICE; }

static CUresult check(const CUmemAllocationProp *prop) {
  if (!prop || prop->type != CU_MEM_ALLOCATION_TYPE_PINNED) return CUDA_ERROR_INVALID_VALUE;
  if (prop->location.type < 1 || prop->location.type > 6) return CUDA_ERROR_INVALID_VALUE;
  if (on_device(prop) && (prop->location.id < 0 || prop->location.id >= knobs.devices)) return CUDA_ERROR_INVALID_DEVICE;
  return CUDA_SUCCESS;
}

/* `serial`: of this process's own memory that an import is of; 0: another's. */
static CUresult create(CUhandle *out, uint64_t size, const CUmemAllocationProp *prop, bool imported, uint64_t serial) {
  struct physical *memory = calloc(1, sizeof *memory);
  if (!memory) return CUDA_ERROR_OUT_OF_MEMORY;
  bool charged = on_device(prop) && !imported;
  if (charged && !card_take(prop->location.id, size)) {
    free(memory);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  *memory = (struct physical){.prop = *prop, .size = size, .references = 1, .charged = charged, .imported = imported};
  pthread_mutex_lock(&fake_lock);
  for (struct physical *at = imported ? all : NULL; at; at = at->next)
    if (at->serial == serial) (memory->of = at)->mappings++;
  memory->serial = ++serials;
  memory->next = all;
  all = memory;
  *out = memory->handle = object_new(OBJECT_PHYSICAL, memory);
  pthread_mutex_unlock(&fake_lock);
  return CUDA_SUCCESS;
}

/* The lock is held. */
static void end_unused(struct physical *memory) {
  if (memory->references || memory->mappings) return;
  if (memory->charged) card_give(memory->prop.location.id, memory->size);
  for (struct physical **at = &all; *at; at = &(*at)->next) {
    if (*at != memory) continue;
    *at = memory->next;
    break;
  }
  if (memory->of && --memory->of->mappings == 0) end_unused(memory->of);
  free(memory);
}

API CUresult cuMemGetAllocationGranularity(size_t *out, const CUmemAllocationProp *prop, int option) {
  ENTER();
  CUresult result = check(prop);
  if (!out || option < 0 || option > 1) return CUDA_ERROR_INVALID_VALUE;
  if (!result) *out = GRANULARITY;
  return result;
}
API CUresult cuMemCreate(CUhandle *out, size_t size, const CUmemAllocationProp *prop, unsigned long long flags) {
  ENTER();
  CUresult result = check(prop);
  if (result) return result;
  if (!out || !size || size % GRANULARITY || flags) return CUDA_ERROR_INVALID_VALUE;
  return create(out, size, prop, false, 0);
}
API CUresult cuMemRelease(CUhandle handle) {
  ENTER();
  pthread_mutex_lock(&fake_lock);
  struct physical *memory = object_get(handle, OBJECT_PHYSICAL);
  if (memory && --memory->references == 0) {
    object_drop(handle);
    memory->handle = 0;
    end_unused(memory);
  }
  pthread_mutex_unlock(&fake_lock);
  return memory ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
API CUresult cuMemGetAllocationPropertiesFromHandle(CUmemAllocationProp *out, CUhandle handle) {
  ENTER();
  struct physical *memory;
  LOCKED(memory = object_get(handle, OBJECT_PHYSICAL); if (memory && out) *out = memory->prop);
  return memory && out ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

/* ---- addresses ---- */
API CUresult cuMemAddressReserve(CUdeviceptr *out, size_t size, size_t alignment, CUdeviceptr hint, unsigned long long flags) {
  ENTER();
  (void)hint;
  if (!out || !size || size % 4096 || flags || (alignment & (alignment - 1))) return CUDA_ERROR_INVALID_VALUE;
  *out = block_new(NULL, 0, BLOCK_RANGE, round_up(size, GRANULARITY), 0, NULL);
  return *out ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

static bool overlaps(CUdeviceptr address, uint64_t size) {
  for (struct mapping *at = mappings; at; at = at->next)
    if (address < at->address + at->size && at->address < address + size) return true;
  return false;
}

API CUresult cuMemAddressFree(CUdeviceptr address, size_t size) {
  ENTER();
  CUresult result = CUDA_ERROR_INVALID_VALUE;
  CUdeviceptr base;
  pthread_mutex_lock(&fake_lock);
  struct block *block = block_of(address, &base);
  if (block && base == address && block->size == round_up(size, GRANULARITY) && !overlaps(address, size))
    result = block_end(base, block, BLOCK_RANGE) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
  pthread_mutex_unlock(&fake_lock);
  return result;
}
API CUresult cuMemMap(CUdeviceptr address, size_t size, size_t offset, CUhandle handle, unsigned long long flags) {
  ENTER();
  CUresult result = CUDA_ERROR_INVALID_VALUE;
  CUdeviceptr base;
  struct mapping *mapping = malloc(sizeof *mapping);
  if (!mapping) return CUDA_ERROR_OUT_OF_MEMORY;
  pthread_mutex_lock(&fake_lock);
  struct physical *memory = object_get(handle, OBJECT_PHYSICAL);
  struct block *block = block_of(address, &base);
  bool inside = block && atomic_load(&block->kind) == BLOCK_RANGE && size && size <= block->size - (address - base);
  if (memory && inside && !flags && !offset && size <= memory->size && !(address % GRANULARITY) && !overlaps(address, size)) {
    *mapping = (struct mapping){.next = mappings, .address = address, .size = size, .memory = memory};
    mappings = mapping;
    memory->mappings++;
    result = CUDA_SUCCESS;
  }
  pthread_mutex_unlock(&fake_lock);
  if (result) free(mapping);
  return result;
}
API CUresult cuMemUnmap(CUdeviceptr address, size_t size) {
  ENTER();
  pthread_mutex_lock(&fake_lock);
  uint64_t covered = 0;
  for (struct mapping *at = mappings; at; at = at->next)
    if (at->address >= address && at->size <= size && at->address - address <= size - at->size) covered += at->size;
  bool whole = size && covered == size;
  for (struct mapping **at = &mappings; whole && *at;) {
    struct mapping *mapping = *at;
    if (mapping->address < address || mapping->address >= address + size) {
      at = &mapping->next;
      continue;
    }
    *at = mapping->next;
    mapping->memory->mappings--;
    end_unused(mapping->memory);
    free(mapping);
  }
  pthread_mutex_unlock(&fake_lock);
  return whole ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
API CUresult cuMemSetAccess(CUdeviceptr address, size_t size, const CUmemAccessDesc *access, size_t count) {
  ENTER();
  bool mapped;
  LOCKED(mapped = overlaps(address, size));
  return mapped && access && count ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
API CUresult cuMemGetAccess(unsigned long long *flags, const CUmemLocation *location, CUdeviceptr address) {
  ENTER();
  bool mapped;
  LOCKED(mapped = overlaps(address, 1));
  if (!flags || !location || !mapped) return CUDA_ERROR_INVALID_VALUE;
  *flags = 3;
  return CUDA_SUCCESS;
}
API CUresult cuMemRetainAllocationHandle(CUhandle *out, void *address) {
  ENTER();
  CUresult result = CUDA_ERROR_INVALID_VALUE;
  CUdeviceptr wanted = (CUdeviceptr)(uintptr_t)address;
  pthread_mutex_lock(&fake_lock);
  for (struct mapping *at = mappings; out && result && at; at = at->next) {
    if (wanted < at->address || wanted - at->address >= at->size) continue;
    struct physical *memory = at->memory;
    if (!memory->references++) memory->handle = object_new(OBJECT_PHYSICAL, memory);
    *out = memory->handle;
    result = CUDA_SUCCESS;
  }
  pthread_mutex_unlock(&fake_lock);
  return result;
}
API CUresult cuMemMapArrayAsync(void *list, unsigned int count, CUstream stream) {
  ENTER();
  (void)list, (void)count, (void)stream;
  return CUDA_ERROR_NOT_SUPPORTED;
}
API CUresult cuMemMapArrayAsync_ptsz(void *list, unsigned int count, CUstream stream) {
  ENTER();
  (void)list, (void)count, (void)stream;
  return CUDA_ERROR_NOT_SUPPORTED;
}

/* ---- handles for other processes: a file that says what there is; it is the exporter's memory, which an import of its own keeps ---- */
struct shared {
  uint64_t magic, size, serial;
  pid_t process;
  CUmemAllocationProp prop;
};
static const uint64_t shared_magic = 0x6d656d656b6166;

API CUresult cuMemExportToShareableHandle(void *out, CUhandle handle, int type, unsigned long long flags) {
  ENTER();
  struct shared shared = {.magic = shared_magic};
  pthread_mutex_lock(&fake_lock);
  struct physical *memory = object_get(handle, OBJECT_PHYSICAL);
  bool fine = memory && out && !flags && type == CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
  if (fine) shared.size = memory->size, shared.prop = memory->prop, shared.serial = memory->serial, shared.process = getpid();
  pthread_mutex_unlock(&fake_lock);
  if (!fine) return CUDA_ERROR_INVALID_VALUE;
  int file = memfd_create("fake-cuda-memory", MFD_CLOEXEC);
  if (file < 0 || pwrite(file, &shared, sizeof shared, 0) != sizeof shared) {
    if (file >= 0) close(file);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  *(int *)out = file;
  return CUDA_SUCCESS;
}
API CUresult cuMemImportFromShareableHandle(CUhandle *out, void *shared_handle, int type) {
  ENTER();
  struct shared shared;
  int file = (int)(intptr_t)shared_handle;
  if (!out || type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR) return CUDA_ERROR_INVALID_VALUE;
  if (pread(file, &shared, sizeof shared, 0) != sizeof shared || shared.magic != shared_magic) return CUDA_ERROR_INVALID_VALUE;
  return create(out, shared.size, &shared.prop, true, shared.process == getpid() ? shared.serial : 0);
}
