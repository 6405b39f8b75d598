// SPDX-License-Identifier: Apache-2.0
// Virtual memory management. Physical memory of cuMemCreate dies with the last of its handles and mappings: programs map it, release the handle
// at once and unmap much later. Each allocation has a number of its own here, because a handle's value may be used again while the memory
// behind it is still mapped.
#include "hooks.h"

#define LOCATION_DEVICE 1
#define LOCATION_DEVICE_DOMAIN 6
#define STEP (UINT64_C(2) << 20)   // mappings lie at multiples of the granularity, 2 MiB on every GPU so far
#define MAX_STEPS (1U << 20)       // 2 TiB of addresses
#define TILE_MAP 1U                // CUmemOperationType
#define TYPE_DESCRIPTOR 1          // CUmemAllocationHandleType
#define TYPE_FABRIC 8
#define EXPORT_MARK (UINT64_C(1) << 63) // of keys of exports: no number of an allocation or a context has it

// CUmemAllocationProp, as far as it tells where the memory lies.
struct allocation_properties {
  int type, handles, location, id;
};
// CUarrayMapInfo.
struct tile {
  uint32_t resource_type, pad0;
  uint64_t resource;
  uint32_t subresource_type, pad1;
  uint32_t subresource[8];
  uint32_t operation, handle_type;
  uint64_t handle, offset;
  uint32_t devices, flags, reserved[2];
};
_Static_assert(sizeof(struct tile) == 96, "CUarrayMapInfo has 96 bytes");

CUresult hook_cuMemCreate(CUhandle *handle, size_t bytes, const struct allocation_properties *properties, unsigned long long flags);
CUresult hook_cuMemRelease(CUhandle handle);
CUresult hook_cuMemRetainAllocationHandle(CUhandle *handle, void *address);
CUresult hook_cuMemMap(CUdeviceptr address, size_t bytes, size_t offset, CUhandle handle, unsigned long long flags);
CUresult hook_cuMemUnmap(CUdeviceptr address, size_t bytes);
CUresult hook_cuMemExportToShareableHandle(void *to, CUhandle handle, int type, unsigned long long flags);
CUresult hook_cuMemImportFromShareableHandle(CUhandle *handle, void *from, int type);
CUresult hook_cuMemMapArrayAsync(struct tile *tiles, unsigned count, CUstream stream);
CUresult hook_cuMemMapArrayAsync_ptsz(struct tile *tiles, unsigned count, CUstream stream);

static uint64_t next_number(void) { return (uint64_t)fetch_add(&hook_state()->next_owner, 1U) + 1; }

// One user of the memory less; the last one gives its bytes back. After the real call.
static void drop_user(uint64_t number) {
  struct map_entry physical, exported;
  if (!map_count(number, KIND_PHYSICAL, -1, &physical) || physical.count != 0) return;
  release(physical.device, physical.bytes);
  if (physical.owner != 0 && map_find(physical.owner, KIND_EXPORTED, &exported) && exported.owner == number)
    map_remove(physical.owner, KIND_EXPORTED, NULL);
}

static int insert(uint64_t key, int kind, uint64_t number, uint64_t bytes, int device) {
  struct map_entry entry = {
      .key = key, .owner = kind == KIND_PHYSICAL ? 0 : number, .bytes = bytes, .kind = (uint16_t)kind, .device = (int16_t)device, .count = 1};
  return map_insert_entry(&entry);
}

static int charged_device(const struct allocation_properties *p) {
  if (p->location == LOCATION_DEVICE) return device_index(p->id);
  return p->location == LOCATION_DEVICE_DOMAIN ? device_index(p->id & 0xff) : LEDGER_FREE;
}

CUresult hook_cuMemCreate(CUhandle *handle, size_t bytes, const struct allocation_properties *properties, unsigned long long flags) {
  if (!quota_active() || handle == NULL || properties == NULL || bytes == 0) return NEXT(cuMemCreate)(handle, bytes, properties, flags);
  int device = charged_device(properties);
  if (device == LEDGER_FREE) return NEXT(cuMemCreate)(handle, bytes, properties, flags);
  if (reserve(device, bytes) != 0) return CUDA_ERROR_OUT_OF_MEMORY;
  CUresult result = NEXT(cuMemCreate)(handle, bytes, properties, flags);
  uint64_t number = next_number();
  if (result == CUDA_SUCCESS) {
    if (insert(number, KIND_PHYSICAL, 0, bytes, device) == 0) {
      if (insert(*handle, KIND_HANDLE, number, 0, -1) == 0) return result;
      map_remove(number, KIND_PHYSICAL, NULL);
    }
    NEXT(cuMemRelease)(*handle);
    result = CUDA_ERROR_OUT_OF_MEMORY;
  }
  release(device, bytes);
  return result;
}

// The handle is forgotten before the real call, which may hand its value to another thread at once.
CUresult hook_cuMemRelease(CUhandle handle) {
  struct map_entry entry;
  if (!quota_active() || !map_count(handle, KIND_HANDLE, -1, &entry)) return NEXT(cuMemRelease)(handle);
  CUresult result = NEXT(cuMemRelease)(handle);
  if (result == CUDA_SUCCESS) {
    drop_user(entry.owner);
  } else if (entry.count == 0) {
    entry.count = 1;
    map_restore(&entry);
  } else {
    map_count(handle, KIND_HANDLE, 1, NULL);
  }
  return result;
}

// The mapping that an address lies in.
static int mapping_at(uint64_t address, struct map_entry *entry) {
  uint64_t start = address & ~(STEP - 1);
  for (uint32_t i = 0; i < MAX_STEPS; i++, start -= STEP) {
    if (map_find(start, KIND_MAPPING, entry)) return address - start < entry->bytes;
    if (start < STEP) break;
  }
  return 0;
}

CUresult hook_cuMemRetainAllocationHandle(CUhandle *handle, void *address) {
  CUresult result = NEXT(cuMemRetainAllocationHandle)(handle, address);
  struct map_entry entry;
  if (result != CUDA_SUCCESS || !quota_active()) return result;
  // The handle is still open under the same value; else it is a new one for what is mapped there.
  if (map_count(*handle, KIND_HANDLE, 1, &entry)) {
    map_count(entry.owner, KIND_PHYSICAL, 1, NULL);
  } else if (mapping_at((uint64_t)address, &entry) && map_count(entry.owner, KIND_PHYSICAL, 1, NULL)) {
    insert(*handle, KIND_HANDLE, entry.owner, 0, -1);
  }
  return result;
}

CUresult hook_cuMemMap(CUdeviceptr address, size_t bytes, size_t offset, CUhandle handle, unsigned long long flags) {
  struct map_entry entry;
  // Counted before the real call: another thread may release the handle meanwhile.
  int known = quota_active() && map_find(handle, KIND_HANDLE, &entry) && map_count(entry.owner, KIND_PHYSICAL, 1, NULL);
  CUresult result = NEXT(cuMemMap)(address, bytes, offset, handle, flags);
  if (known && (result != CUDA_SUCCESS || insert(address, KIND_MAPPING, entry.owner, bytes, -1) != 0)) {
    // Without memory for the entry the mapping stays charged for as long as the process lives.
    if (result != CUDA_SUCCESS) drop_user(entry.owner);
  }
  return result;
}

// The addresses stay the program's own after the real call, so nobody can map there before it returns.
CUresult hook_cuMemUnmap(CUdeviceptr address, size_t bytes) {
  CUresult result = NEXT(cuMemUnmap)(address, bytes);
  if (result != CUDA_SUCCESS || !quota_active()) return result;
  uint64_t end = sum(address, bytes), at = address;
  for (uint32_t i = 0; at < end && i < MAX_STEPS; i++) {
    struct map_entry entry;
    if (map_remove(at, KIND_MAPPING, &entry)) {
      drop_user(entry.owner);
      at = sum(at, entry.bytes == 0 ? STEP : entry.bytes);
    } else {
      at = sum(at, STEP); // multicast objects and other things that are not ours
    }
  }
  return result;
}

// ---- memory that goes from process to process: the exporter pays ----

// What an export is known by: the number of its descriptor, or the 64 bytes of a fabric handle. 0: neither.
static uint64_t export_key(int descriptor, const uint64_t *words, int type) {
  uint64_t hash = 0;
  if (type == TYPE_DESCRIPTOR) return EXPORT_MARK | (uint32_t)descriptor;
  if (type != TYPE_FABRIC || words == NULL) return 0;
  for (int i = 0; i < 8; i++) hash = (hash ^ words[i]) * UINT64_C(0xff51afd7ed558ccd) + (hash >> 29);
  return EXPORT_MARK | hash;
}

CUresult hook_cuMemExportToShareableHandle(void *to, CUhandle handle, int type, unsigned long long flags) {
  CUresult result = NEXT(cuMemExportToShareableHandle)(to, handle, type, flags);
  struct map_entry entry;
  if (result != CUDA_SUCCESS || to == NULL || !quota_active() || !map_find(handle, KIND_HANDLE, &entry)) return result;
  uint64_t key = export_key(type == TYPE_DESCRIPTOR ? *(const int *)to : 0, to, type);
  if (key == 0) return result;
  insert(key, KIND_EXPORTED, entry.owner, 0, -1);
  map_own(entry.owner, KIND_PHYSICAL, 0, key); // so that its end takes the note away
  return result;
}

// Memory that this process has exported itself gets one more user; what the real call makes of that is a handle of its own, or a known one. It is known by its
// descriptor's number: one that was closed and is something else now makes the old memory last for longer here, one that was duplicated or sent is not known.
CUresult hook_cuMemImportFromShareableHandle(CUhandle *handle, void *from, int type) {
  struct map_entry exported, entry;
  uint64_t key = quota_active() ? export_key((int)(uintptr_t)from, from, type) : 0;
  // Counted before the real call: another thread may let go of it meanwhile.
  int own = key != 0 && map_find(key, KIND_EXPORTED, &exported) && map_count(exported.owner, KIND_PHYSICAL, 1, NULL);
  CUresult result = NEXT(cuMemImportFromShareableHandle)(handle, from, type);
  if (result == CUDA_SUCCESS && quota_active() && map_count(*handle, KIND_HANDLE, 1, &entry)) {
    map_count(entry.owner, KIND_PHYSICAL, 1, NULL);
    if (own) drop_user(exported.owner);
  } else if (own && result == CUDA_SUCCESS) {
    insert(*handle, KIND_HANDLE, exported.owner, 0, -1); // without memory for the entry it stays charged
  } else if (own) {
    drop_user(exported.owner);
  }
  return result;
}

// ---- tiles of sparse arrays ----

static uint64_t tile_key(const struct tile *t) {
  uint64_t hash = t->resource * UINT64_C(0x9e3779b97f4a7c15) + t->subresource_type;
  for (int i = 0; i < 8; i++) hash = (hash ^ t->subresource[i]) * UINT64_C(0xff51afd7ed558ccd) + (hash >> 29);
  return hash;
}

// An array that is destroyed with its tiles mapped leaves them counted: too much is charged then, never too little.
static CUresult map_tiles(CUresult result, const struct tile *tiles, unsigned count) {
  for (unsigned i = 0; result == CUDA_SUCCESS && tiles != NULL && i < count; i++) {
    struct map_entry entry;
    uint64_t key = tile_key(&tiles[i]);
    if (map_remove(key, KIND_TILE, &entry)) drop_user(entry.owner);
    if (tiles[i].operation == TILE_MAP && map_find(tiles[i].handle, KIND_HANDLE, &entry) &&
        map_count(entry.owner, KIND_PHYSICAL, 1, NULL)) {
      insert(key, KIND_TILE, entry.owner, 0, -1);
    }
  }
  return result;
}

CUresult hook_cuMemMapArrayAsync(struct tile *tiles, unsigned count, CUstream stream) {
  CUresult result = NEXT(cuMemMapArrayAsync)(tiles, count, stream);
  return quota_active() ? map_tiles(result, tiles, count) : result;
}

CUresult hook_cuMemMapArrayAsync_ptsz(struct tile *tiles, unsigned count, CUstream stream) {
  CUresult result = NEXT(cuMemMapArrayAsync_ptsz)(tiles, count, stream);
  return quota_active() ? map_tiles(result, tiles, count) : result;
}
