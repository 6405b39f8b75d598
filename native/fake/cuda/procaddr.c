// SPDX-License-Identifier: Apache-2.0
// cuGetProcAddress: the newest variant that the caller's version knows, and per-thread default stream flavours when asked for.
#include "entries.h"

#include <string.h>

CUresult fake_stub(const char *name) {
  CUresult entered = atomic_load(&fake_armed) ? fake_enter_slow(name, true) : CUDA_SUCCESS;
  return entered ? entered : CUDA_ERROR_NOT_SUPPORTED;
}

static const struct fake_entry *find(const char *name, int version, uint64_t flags, int *status) {
  const struct fake_entry *plain = NULL, *per_thread = NULL;
  *status = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
  for (const struct fake_entry *entry = fake_entries; entry->symbol; entry++) {
    if (strcmp(entry->name, name)) continue;
    if (entry->version > version) {
      *status = CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT;
      continue;
    }
    const struct fake_entry **best = entry->per_thread ? &per_thread : &plain;
    if (!*best || (*best)->version < entry->version) *best = entry;
  }
  const struct fake_entry *found = flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM && per_thread ? per_thread : plain;
  if (found) *status = 0;
  return found;
}

static int driver_version(void) {
  int version = DRIVER_VERSION;
  cuDriverGetVersion(&version);
  return version;
}

static CUresult look_up(const char *via, const char *name, void **out, int version, uint64_t flags, int *status) {
  int found_status = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
  const struct fake_entry *found = NULL;
  if (!name || !out || version > driver_version() || flags > 2) return CUDA_ERROR_INVALID_VALUE;
  if (*name) found = find(name, version, flags, &found_status);
  *out = found ? found->function : NULL;
  if (status) *status = found_status;
  if (atomic_load(&fake_armed) & ARMED_TRACE)
    fake_trace("look-up %s \"%s\" %d %d -> %s", via, name, version, (int)flags, found ? found->symbol : "-");
  return found ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

API CUresult cuGetProcAddress(const char *name, void **out, int version, uint64_t flags) {
  return look_up(__func__, name, out, version, flags, NULL);
}
API CUresult cuGetProcAddress_v2(const char *name, void **out, int version, uint64_t flags, int *status) {
  return look_up(__func__, name, out, version, flags, status);
}
/* What a program compiled for per-thread default streams links to: its look-ups prefer those flavours. */
API CUresult cuGetProcAddress_v2_ptsz(const char *name, void **out, int version, uint64_t flags, int *status) {
  return look_up(__func__, name, out, version, flags ? flags : CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM, status);
}
