// SPDX-License-Identifier: Apache-2.0
// A card's memory is the session's slice of it.
#include "nvml/real.h"
#include "nvml/slice.h"

typedef nvmlReturn_t memory_function(nvmlDevice_t, void *);

EXPORT nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory);
EXPORT nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory) {
  nvmlReturn_t result = REAL(memory_function, device, memory);
  if (!result) slice_memory(device, &memory->total, &memory->free, &memory->used);
  return result;
}

EXPORT nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, nvmlMemory_v2_t *memory);
EXPORT nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, nvmlMemory_v2_t *memory) {
  nvmlReturn_t result = REAL(memory_function, device, memory);
  if (!result && slice_is_cut(device)) {
    memory->reserved = 0; // the driver's own part of the card is outside the slice
    slice_memory(device, &memory->total, &memory->free, &memory->used);
  }
  return result;
}

EXPORT nvmlReturn_t nvmlDeviceGetConfComputeProtectedMemoryUsage(nvmlDevice_t device, nvmlMemory_t *memory);
EXPORT nvmlReturn_t nvmlDeviceGetConfComputeProtectedMemoryUsage(nvmlDevice_t device, nvmlMemory_t *memory) {
  nvmlReturn_t result = REAL(memory_function, device, memory);
  if (!result) slice_memory(device, &memory->total, &memory->free, &memory->used);
  return result;
}

// The window through which the host reaches the card: no more of it than the slice.
EXPORT nvmlReturn_t nvmlDeviceGetBAR1MemoryInfo(nvmlDevice_t device, nvmlBAR1Memory_t *window);
EXPORT nvmlReturn_t nvmlDeviceGetBAR1MemoryInfo(nvmlDevice_t device, nvmlBAR1Memory_t *window) {
  nvmlReturn_t result = REAL(memory_function, device, window);
  uint64_t limit = result ? UINT64_MAX : slice_limit(device);
  if (!result && limit < window->total) {
    window->total = limit;
    if (window->used > limit) window->used = limit;
    window->free = limit - window->used;
  }
  return result;
}

// MIG devices tell their size in MB here.
static void cut_attributes(nvmlDevice_t device, nvmlDeviceAttributes_t *attributes) {
  uint64_t limit = slice_limit(device) >> 20;
  if (attributes->memory_mb > limit) attributes->memory_mb = limit;
}
EXPORT nvmlReturn_t nvmlDeviceGetAttributes(nvmlDevice_t device, nvmlDeviceAttributes_t *attributes);
EXPORT nvmlReturn_t nvmlDeviceGetAttributes(nvmlDevice_t device, nvmlDeviceAttributes_t *attributes) {
  nvmlReturn_t result = REAL(memory_function, device, attributes);
  if (!result) cut_attributes(device, attributes);
  return result;
}
EXPORT nvmlReturn_t nvmlDeviceGetAttributes_v2(nvmlDevice_t device, nvmlDeviceAttributes_t *attributes);
EXPORT nvmlReturn_t nvmlDeviceGetAttributes_v2(nvmlDevice_t device, nvmlDeviceAttributes_t *attributes) {
  nvmlReturn_t result = REAL(memory_function, device, attributes);
  if (!result) cut_attributes(device, attributes);
  return result;
}
