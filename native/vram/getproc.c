// SPDX-License-Identifier: Apache-2.0
// cuGetProcAddress: the way of the CUDA runtime, static and shared, to every entry point. The driver is asked first with the caller's own
// arguments, so versions, flags and status are its own; then the pointer of a hooked name is replaced by ours of the same variant.
#include "driver.h"

#include "elf.h"
#include "hooks.h"
#include "real.h"
#include "text.h"

// The generated table, and the list of hooked names that comes out of it.
#include "variants.gen.h"
#define VARIANT_COUNT ((int)(sizeof VARIANTS / sizeof *VARIANTS))

#define FLAG_LEGACY_STREAM 1U
#define FLAG_PER_THREAD_STREAM 2U
#define SYMBOL_NOT_FOUND 1 // CUdriverProcAddressQueryResult

int entry_is_hooked(uint32_t index) {
  for (int i = 0; i < VARIANT_COUNT; i++) {
    if (VARIANTS[i].index == index) return 1;
  }
  return index == I_cuGetProcAddress_v2_ptsz;
}

void entry_bind_hooks(void) {
  for (int i = 0; i < VARIANT_COUNT; i++) driver_entry(VARIANTS[i].index);
  driver_entry(I_cuGetProcAddress_v2_ptsz);
}

// The first variant of a look-up name, -1 none. The table is sorted.
static int first_variant(const char *base) {
  for (int i = 0; i < VARIANT_COUNT; i++) {
    if (text_same(VARIANTS[i].base, base)) return i;
  }
  return -1;
}

// The hooked variant that the driver's answer stands for: the one whose exported function it is; else, since drivers may hand out inner
// addresses, the newest one that is not newer than the version asked for, of the stream flavour asked for where the name has one.
static int chosen(int first, const void *answer, int version, int per_thread) {
  int best = -1;
  for (int i = first; i < VARIANT_COUNT && text_same(VARIANTS[i].base, VARIANTS[first].base); i++) {
    const struct variant *v = &VARIANTS[i];
    if (driver_entry(v->index) == answer) return i;
    if (v->version > version || (v->per_thread && !per_thread)) continue;
    if (best < 0 || v->per_thread > VARIANTS[best].per_thread ||
        (v->per_thread == VARIANTS[best].per_thread && v->version > VARIANTS[best].version)) {
      best = i;
    }
  }
  return best;
}

static const char *const KEPT_BACK[] = {"cuMemAlloc",     "cuMemCreate", "cuMemPoolCreate", "cuArrayCreate", "cuArray3DCreate",
                                        "cuMipmappedArrayCreate", "cuMemFree",   NULL};

static int allocates(const char *name) {
  for (int i = 0; KEPT_BACK[i] != NULL; i++) {
    if (text_begins(name, KEPT_BACK[i])) return 1;
  }
  return 0;
}

int name_is_kept_back(const char *name) { return elf_own_export(name) == NULL && allocates(name); }

typedef CUresult look_up_v1(const char *symbol, void **pfn, int version, uint64_t flags);
typedef CUresult look_up_v2(const char *symbol, void **pfn, int version, uint64_t flags, int *status);

CUresult hook_cuGetProcAddress(const char *symbol, void **pfn, int version, uint64_t flags);
CUresult hook_cuGetProcAddress_v2(const char *symbol, void **pfn, int version, uint64_t flags, int *status);
CUresult hook_cuGetProcAddress_v2_ptsz(const char *symbol, void **pfn, int version, uint64_t flags, int *status);

// A driver newer than this release may have a newer variant than we know: it answers the newest version we know with another function.
static int is_newer(look_up_v2 *next, const char *symbol, const void *answer, int version, uint64_t flags) {
  void *known = NULL;
  int status = 0;
  return version > NEWEST_VERSION && (next(symbol, &known, NEWEST_VERSION, flags, &status) != CUDA_SUCCESS || known != answer);
}

static CUresult keep_back(void **pfn, int *status) {
  *pfn = NULL;
  if (status != NULL) *status = SYMBOL_NOT_FOUND;
  return CUDA_ERROR_NOT_FOUND;
}

static CUresult replace(look_up_v2 *next, const char *symbol, void **pfn, int version, uint64_t flags, int *status, int per_thread) {
  CUresult result = next(symbol, pfn, version, flags, status);
  if (result != CUDA_SUCCESS || symbol == NULL || pfn == NULL || *pfn == NULL || !quota_active()) return result;
  int first = first_variant(symbol);
  if (first < 0) {
    void *entry = elf_own_export(symbol); // a full name, cuMemAlloc_v2: drivers refuse it today
    int index = entry == NULL ? -1 : entry_index(entry);
    if (index >= 0 && entry_is_hooked((uint32_t)index)) *pfn = entry;
    else if (name_is_kept_back(symbol)) return keep_back(pfn, status);
    return result;
  }
  if (is_newer(next, symbol, *pfn, version, flags)) return allocates(symbol) ? keep_back(pfn, status) : result;
  if (*pfn == driver_entry(I_cuGetProcAddress_v2_ptsz)) {
    *pfn = entry_address(I_cuGetProcAddress_v2_ptsz);
    return result;
  }
  int which = chosen(first, *pfn, version, per_thread);
  if (which < 0) return result;
  uint32_t index = VARIANTS[which].index;
  // An inner address of the look-up itself: the flavour asked for, whose look-ups without a flag mean per thread.
  if (index == I_cuGetProcAddress_v2 && per_thread && *pfn != driver_entry(index)) index = I_cuGetProcAddress_v2_ptsz;
  // A driver that exports no such name, but hands the function out.
  if (!driver_has(index)) __atomic_store_n(&vram_real[index], *pfn, __ATOMIC_RELEASE);
  *pfn = entry_address(index);
  return result;
}

static CUresult ask_v1(const char *symbol, void **pfn, int version, uint64_t flags, int *status) {
  (void)status;
  return ((look_up_v1 *)driver_entry(I_cuGetProcAddress))(symbol, pfn, version, flags);
}

CUresult hook_cuGetProcAddress(const char *symbol, void **pfn, int version, uint64_t flags) {
  return replace(ask_v1, symbol, pfn, version, flags, NULL, (flags & FLAG_PER_THREAD_STREAM) != 0);
}

CUresult hook_cuGetProcAddress_v2(const char *symbol, void **pfn, int version, uint64_t flags, int *status) {
  return replace(NEXT(cuGetProcAddress_v2), symbol, pfn, version, flags, status, (flags & FLAG_PER_THREAD_STREAM) != 0);
}

// What programs built for per-thread default streams link to: no flag means per thread.
CUresult hook_cuGetProcAddress_v2_ptsz(const char *symbol, void **pfn, int version, uint64_t flags, int *status) {
  return replace(NEXT(cuGetProcAddress_v2_ptsz), symbol, pfn, version, flags, status, (flags & FLAG_LEGACY_STREAM) == 0);
}
