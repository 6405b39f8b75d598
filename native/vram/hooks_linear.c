// SPDX-License-Identifier: Apache-2.0
// Linear memory: cuMemAlloc, cuMemAllocPitch, cuMemAllocManaged, cuMemFree, and addresses opened from other processes.
// A charge comes before the real call and goes after it: an address may be handed out anew the moment the driver has it back, so the map
// forgets it first.
#include "hooks.h"
#include "hot.h"
#include "layout.gen.h"
#include "map_hot.h"

// Rows of pitched memory begin at multiples of this on every GPU so far; what the driver really did is charged afterwards.
#define PITCH_ALIGNMENT UINT64_C(512)

CUresult hook_cuMemFree(uint32_t address);
CUresult hook_cuMemFree_v2(CUdeviceptr address);
CUresult hook_cuMemAlloc(uint32_t *address, unsigned bytes);
CUresult hook_cuMemAlloc_v2(CUdeviceptr *address, size_t bytes);
CUresult hook_cuMemAllocManaged(CUdeviceptr *address, size_t bytes, unsigned flags);
CUresult hook_cuMemAllocPitch(uint32_t *address, unsigned *pitch, unsigned width, unsigned height, unsigned element);
CUresult hook_cuMemAllocPitch_v2(CUdeviceptr *address, size_t *pitch, size_t width, size_t height, unsigned element);

static void undo(uint64_t address) { NEXT(cuMemFree_v2)(address); }
static void undo_v1(uint64_t address) { NEXT(cuMemFree)((uint32_t)address); }

static __attribute__((noinline)) CUresult alloc_slowly(CUdeviceptr *address, size_t bytes) {
  if (!quota_active() || address == NULL || bytes == 0) return NEXT(cuMemAlloc_v2)(address, bytes);
  struct charge c;
  if (UNLIKELY(charge_begin(&c, card_bytes(bytes)) != CUDA_SUCCESS)) return CUDA_ERROR_OUT_OF_MEMORY;
  CUresult result = NEXT(cuMemAlloc_v2)(address, bytes);
  return charge_end(&c, result, result == CUDA_SUCCESS ? *address : 0, KIND_LINEAR, undo);
}

// Not the ordinary entry. Where the map does not keep it at all, everything is undone.
static __attribute__((noinline)) CUresult keep_slowly(CUdeviceptr address, int device, uint64_t charged) {
  if (map_insert(address, KIND_LINEAR, device, charged) == 0) return CUDA_SUCCESS;
  undo(address);
  ledger_release(device, charged);
  return CUDA_ERROR_OUT_OF_MEMORY;
}

// The one call that programs make often: one charged device, credit at hand, a real call that succeeds. Whose context it is in is asked when a
// context ends.
CUresult hook_cuMemAlloc_v2(CUdeviceptr *address, size_t bytes) {
  int device = device_hot();
  if (UNLIKELY(device < 0 || address == NULL || bytes - 1 >= MAP_BYTES_MAX / 2)) return alloc_slowly(address, bytes);
  uint64_t charged = card_bytes_possible(bytes);
  if (UNLIKELY(reserve_hot(device, charged)) && reserve(device, charged) != 0) return CUDA_ERROR_OUT_OF_MEMORY;
  CUresult result = ((__typeof__(&hook_cuMemAlloc_v2))vram_real[I_cuMemAlloc_v2])(address, bytes);
  if (UNLIKELY(result != CUDA_SUCCESS)) {
    ledger_release(device, charged);
    return result;
  }
  return LIKELY(map_insert_hot(*address, KIND_LINEAR, device, charged) == 0) ? CUDA_SUCCESS : keep_slowly(*address, device, charged);
}

CUresult hook_cuMemAlloc(uint32_t *address, unsigned bytes) {
  if (!quota_active() || address == NULL || bytes == 0) return NEXT(cuMemAlloc)(address, bytes);
  struct charge c;
  if (charge_begin(&c, card_bytes(bytes)) != CUDA_SUCCESS) return CUDA_ERROR_OUT_OF_MEMORY;
  CUresult result = NEXT(cuMemAlloc)(address, bytes);
  return charge_end(&c, result, result == CUDA_SUCCESS ? *address : 0, KIND_LINEAR, undo_v1);
}

// Where managed pages lie changes from moment to moment: charged in full, or not at all where the session says so.
CUresult hook_cuMemAllocManaged(CUdeviceptr *address, size_t bytes, unsigned flags) {
  if (!quota_active() || address == NULL || bytes == 0 || (ledger_flags() & CONTROL_FLAG_MANAGED_UNCHARGED) != 0) {
    return NEXT(cuMemAllocManaged)(address, bytes, flags);
  }
  struct charge c;
  if (charge_begin(&c, card_bytes(bytes)) != CUDA_SUCCESS) return CUDA_ERROR_OUT_OF_MEMORY;
  CUresult result = NEXT(cuMemAllocManaged)(address, bytes, flags);
  return charge_end(&c, result, result == CUDA_SUCCESS ? *address : 0, KIND_LINEAR, undo);
}

static uint64_t rows(uint64_t width, uint64_t height) {
  return product(sum(width, PITCH_ALIGNMENT - 1) & ~(PITCH_ALIGNMENT - 1), height);
}

// The pitch is known after the call: the charge goes up or down to what the driver took. 0, or 1 where the rest is not granted.
static int correct(struct charge *c, uint64_t pitch, uint64_t height) {
  uint64_t actual = card_bytes(product(pitch, height));
  if (!c->known) { // charge_end() reserves
    c->bytes = actual;
    return 0;
  }
  if (actual > c->bytes && reserve(c->place.device, actual - c->bytes) != 0) return 1;
  if (actual < c->bytes) release(c->place.device, c->bytes - actual);
  c->bytes = actual;
  return 0;
}

static CUresult pitched(struct charge *c, CUresult result, uint64_t address, uint64_t pitch, uint64_t height, void (*back)(uint64_t)) {
  if (result == CUDA_SUCCESS && correct(c, pitch, height) != 0) {
    back(address);
    return charge_end(c, CUDA_ERROR_OUT_OF_MEMORY, 0, KIND_LINEAR, back);
  }
  return charge_end(c, result, address, KIND_LINEAR, back);
}

CUresult hook_cuMemAllocPitch_v2(CUdeviceptr *address, size_t *pitch, size_t width, size_t height, unsigned element) {
  if (!quota_active() || address == NULL || pitch == NULL || width == 0 || height == 0) {
    return NEXT(cuMemAllocPitch_v2)(address, pitch, width, height, element);
  }
  struct charge c;
  if (charge_begin(&c, card_bytes(rows(width, height))) != CUDA_SUCCESS) return CUDA_ERROR_OUT_OF_MEMORY;
  CUresult result = NEXT(cuMemAllocPitch_v2)(address, pitch, width, height, element);
  return result != CUDA_SUCCESS ? charge_end(&c, result, 0, KIND_LINEAR, undo) : pitched(&c, result, *address, *pitch, height, undo);
}

CUresult hook_cuMemAllocPitch(uint32_t *address, unsigned *pitch, unsigned width, unsigned height, unsigned element) {
  if (!quota_active() || address == NULL || pitch == NULL || width == 0 || height == 0) {
    return NEXT(cuMemAllocPitch)(address, pitch, width, height, element);
  }
  struct charge c;
  if (charge_begin(&c, card_bytes(rows(width, height))) != CUDA_SUCCESS) return CUDA_ERROR_OUT_OF_MEMORY;
  CUresult result = NEXT(cuMemAllocPitch)(address, pitch, width, height, element);
  return result != CUDA_SUCCESS ? charge_end(&c, result, 0, KIND_LINEAR, undo_v1) : pitched(&c, result, *address, *pitch, height, undo_v1);
}

static CUresult free_now(CUdeviceptr address, CUstream none) {
  (void)none;
  return NEXT(cuMemFree_v2)(address);
}
static CUresult free_now_v1(CUdeviceptr address, CUstream none) {
  (void)none;
  return NEXT(cuMemFree)((uint32_t)address);
}

// cuMemFree also takes stream-ordered addresses.
static __attribute__((noinline)) CUresult free_slowly(CUdeviceptr address, CUresult (*call)(CUdeviceptr, CUstream)) {
  if (!quota_active() || address == 0) return call(address, NULL);
  struct map_entry entry;
  if (map_remove(address, KIND_LINEAR, &entry)) return freed(call(address, NULL), 1, &entry);
  return pools_known() ? pool_free_now(address, NULL, call) : call(address, NULL);
}

static __attribute__((noinline)) CUresult put_back(CUdeviceptr address, uint64_t word, CUresult result) {
  // Whose it was is asked anew when a context ends.
  struct map_entry entry = {.key = address, .bytes = bytes_of(word), .kind = KIND_LINEAR, .device = (int16_t)device_of(word), .count = 1};
  map_restore(&entry);
  return result;
}

CUresult hook_cuMemFree_v2(CUdeviceptr address) {
  uint64_t word = map_take_hot(address, KIND_LINEAR);
  if (UNLIKELY(word == 0)) return free_slowly(address, free_now);
  CUresult result = ((__typeof__(&hook_cuMemFree_v2))vram_real[I_cuMemFree_v2])(address);
  if (UNLIKELY(result != CUDA_SUCCESS)) return put_back(address, word, result);
  if (UNLIKELY(release_hot(device_of(word), bytes_of(word)))) ledger_release(device_of(word), bytes_of(word));
  return CUDA_SUCCESS;
}

CUresult hook_cuMemFree(uint32_t address) { return free_slowly(address, free_now_v1); }
