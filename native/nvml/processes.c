// SPDX-License-Identifier: Apache-2.0
// Lists of processes: only those of the session. The real list is fetched whole, so that the count that a caller asks for first and
// the list that it fetches then agree however many strangers there are.
#include "nvml/real.h"
#include "nvml/slice.h"
#include "vram/sys.h"

// More processes than a card serves; the list's memory is one mapping for the time of the call.
enum { MOST = 4096 };

typedef nvmlReturn_t list_function(nvmlDevice_t, unsigned *, void *);

// Keeps the entries of the session's processes, of `size` bytes each with the pid at `at`. How many.
static unsigned keep(char *list, unsigned count, size_t size, size_t at) {
  unsigned kept = 0;
  for (unsigned i = 0; i < count; i++) {
    uint32_t pid;
    memcpy(&pid, list + i * size + at, sizeof pid);
    if (!slice_has_process(pid)) continue;
    if (kept != i) memcpy(list + kept * size, list + i * size, size);
    kept++;
  }
  return kept;
}

static nvmlReturn_t list(list_function *real, nvmlDevice_t device, unsigned *count, void *out, size_t size) {
  if (!count || !slice_is_cut(device)) return real(device, count, out);
  char *all = sys_mmap(MOST * size, PROT_READ_ | PROT_WRITE_, MAP_PRIVATE_ | MAP_ANONYMOUS_ | MAP_NORESERVE_, -1);
  if (!all) return NVML_ERROR_INSUFFICIENT_SIZE;
  unsigned room = *count, found = MOST;
  nvmlReturn_t result = real(device, &found, all);
  if (!result) {
    *count = keep(all, found < MOST ? found : MOST, size, 0);
    if (*count > room) result = NVML_ERROR_INSUFFICIENT_SIZE;
    else if (*count && out) memcpy(out, all, *count * size);
    else if (*count) result = NVML_ERROR_INVALID_ARGUMENT;
  }
  sys_munmap(all, MOST * size);
  return result;
}

#define LIST(name, entry)                                                              \
  EXPORT nvmlReturn_t name(nvmlDevice_t device, unsigned *count, entry *out);          \
  EXPORT nvmlReturn_t name(nvmlDevice_t device, unsigned *count, entry *out) {         \
    list_function *real = (list_function *)nvml_real(__func__);                        \
    return list(real ? real : (list_function *)nvml_missing(), device, count, out, sizeof *out); \
  }
LIST(nvmlDeviceGetComputeRunningProcesses, nvmlProcessInfo_v1_t)
LIST(nvmlDeviceGetComputeRunningProcesses_v2, nvmlProcessInfo_v2_t)
LIST(nvmlDeviceGetComputeRunningProcesses_v3, nvmlProcessInfo_v2_t)
LIST(nvmlDeviceGetGraphicsRunningProcesses, nvmlProcessInfo_v1_t)
LIST(nvmlDeviceGetGraphicsRunningProcesses_v2, nvmlProcessInfo_v2_t)
LIST(nvmlDeviceGetGraphicsRunningProcesses_v3, nvmlProcessInfo_v2_t)
LIST(nvmlDeviceGetMPSComputeRunningProcesses, nvmlProcessInfo_v1_t)
LIST(nvmlDeviceGetMPSComputeRunningProcesses_v2, nvmlProcessInfo_v2_t)
LIST(nvmlDeviceGetMPSComputeRunningProcesses_v3, nvmlProcessInfo_v2_t)

// These fill what the caller has; the list only gets shorter.
typedef nvmlReturn_t in_place_function(nvmlDevice_t, void *);
EXPORT nvmlReturn_t nvmlDeviceGetRunningProcessDetailList(nvmlDevice_t device, nvmlProcessDetailList_v1_t *details);
EXPORT nvmlReturn_t nvmlDeviceGetRunningProcessDetailList(nvmlDevice_t device, nvmlProcessDetailList_v1_t *details) {
  nvmlReturn_t result = REAL(in_place_function, device, details);
  if (!result && details->list && slice_is_cut(device))
    details->count = keep((char *)details->list, details->count, sizeof *details->list, 0);
  return result;
}
EXPORT nvmlReturn_t nvmlDeviceGetProcessesUtilizationInfo(nvmlDevice_t device, nvmlProcessesUtilizationInfo_v1_t *info);
EXPORT nvmlReturn_t nvmlDeviceGetProcessesUtilizationInfo(nvmlDevice_t device, nvmlProcessesUtilizationInfo_v1_t *info) {
  nvmlReturn_t result = REAL(in_place_function, device, info);
  if (!result && info->list && slice_is_cut(device))
    info->count = keep((char *)info->list, info->count, sizeof *info->list, __builtin_offsetof(nvmlProcessUtilizationInfo_v1_t, pid));
  return result;
}
typedef nvmlReturn_t samples_function(nvmlDevice_t, void *, unsigned *, unsigned long long);
EXPORT nvmlReturn_t nvmlDeviceGetProcessUtilization(nvmlDevice_t device, nvmlProcessUtilizationSample_t *out, unsigned *count,
                                                    unsigned long long since);
EXPORT nvmlReturn_t nvmlDeviceGetProcessUtilization(nvmlDevice_t device, nvmlProcessUtilizationSample_t *out, unsigned *count,
                                                    unsigned long long since) {
  nvmlReturn_t result = REAL(samples_function, device, out, count, since);
  if (!result && out && count && slice_is_cut(device)) *count = keep((char *)out, *count, sizeof *out, 0);
  return result;
}

// Accounting of one process: a stranger is not known here.
typedef nvmlReturn_t accounting_function(nvmlDevice_t, unsigned, void *);
EXPORT nvmlReturn_t nvmlDeviceGetAccountingStats(nvmlDevice_t device, unsigned pid, void *stats);
EXPORT nvmlReturn_t nvmlDeviceGetAccountingStats(nvmlDevice_t device, unsigned pid, void *stats) {
  if (slice_is_cut(device) && !slice_has_process(pid)) return NVML_ERROR_NOT_FOUND;
  return REAL(accounting_function, device, pid, stats);
}
EXPORT nvmlReturn_t nvmlDeviceGetAccountingStats_v2(nvmlDevice_t device, void *stats);
EXPORT nvmlReturn_t nvmlDeviceGetAccountingStats_v2(nvmlDevice_t device, void *stats) {
  uint32_t pid; // the first member says which process is meant
  if (!stats) return NVML_ERROR_INVALID_ARGUMENT;
  memcpy(&pid, stats, sizeof pid);
  if (slice_is_cut(device) && !slice_has_process(pid)) return NVML_ERROR_NOT_FOUND;
  return REAL(in_place_function, device, stats);
}
