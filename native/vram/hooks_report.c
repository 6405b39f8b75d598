// SPDX-License-Identifier: Apache-2.0
// What programs ask about memory shows the slice, so that they size themselves to it; and the calls that everybody makes first.
#include "hooks.h"
#include "layout.gen.h"

CUresult hook_cuMemGetInfo(unsigned *available, unsigned *total);
CUresult hook_cuMemGetInfo_v2(size_t *available, size_t *total);
CUresult hook_cuDeviceTotalMem(unsigned *bytes, CUdevice device);
CUresult hook_cuDeviceTotalMem_v2(size_t *bytes, CUdevice device);
CUresult hook_cuGetErrorName(CUresult error, const char **text);
CUresult hook_cuGetErrorString(CUresult error, const char **text);


static uint64_t smaller(uint64_t a, uint64_t b) { return a < b ? a : b; }

static uint64_t shown_total(int device, uint64_t physical) {
  uint64_t limit = UINT64_MAX, used = 0;
  if (device == LEDGER_FREE || (ledger_flags() & CONTROL_FLAG_REPORT_PHYSICAL) != 0) return physical;
  if (device < 0) return 0;
  ledger_report(device, &limit, &used);
  return smaller(limit, physical);
}

// NULL is allowed for either (OptiX does it): the real call gets room of our own.
static CUresult memory_info(uint64_t *available, uint64_t *total) {
  size_t card_free = 0, card_total = 0;
  CUresult result = NEXT(cuMemGetInfo_v2)(&card_free, &card_total);
  struct whose place;
  *available = card_free;
  *total = card_total;
  if (result != CUDA_SUCCESS || !quota_active() || !place_current(&place) || place.device == LEDGER_FREE) return result;
  uint64_t limit = 0, used = 0;
  if (place.device >= 0) ledger_report(place.device, &limit, &used);
  *available = smaller(limit > used ? limit - used : 0, card_free);
  *total = shown_total(place.device, card_total);
  return result;
}

CUresult hook_cuMemGetInfo_v2(size_t *available, size_t *total) {
  uint64_t a, t;
  CUresult result = memory_info(&a, &t);
  if (result != CUDA_SUCCESS) return result;
  if (available != NULL) *available = a;
  if (total != NULL) *total = t;
  return result;
}

// The 32-bit form cannot show more.
static unsigned narrow(uint64_t bytes) { return bytes > UINT32_MAX ? UINT32_MAX : (unsigned)bytes; }

CUresult hook_cuMemGetInfo(unsigned *available, unsigned *total) {
  uint64_t a, t;
  CUresult result = memory_info(&a, &t);
  if (result != CUDA_SUCCESS) return result;
  if (available != NULL) *available = narrow(a);
  if (total != NULL) *total = narrow(t);
  return result;
}

CUresult hook_cuDeviceTotalMem_v2(size_t *bytes, CUdevice device) {
  CUresult result = NEXT(cuDeviceTotalMem_v2)(bytes, device);
  if (result == CUDA_SUCCESS && bytes != NULL && quota_active()) *bytes = shown_total(device_index(device), *bytes);
  return result;
}

CUresult hook_cuDeviceTotalMem(unsigned *bytes, CUdevice device) {
  size_t wide = 0;
  if (bytes == NULL || !quota_active()) return NEXT(cuDeviceTotalMem)(bytes, device);
  CUresult result = NEXT(cuDeviceTotalMem_v2)(&wide, device);
  if (result == CUDA_SUCCESS) *bytes = narrow(shown_total(device_index(device), wide));
  return result;
}

// Programs print these without a look at the status, so they answer also where there is no driver.
struct words {
  CUresult error;
  const char *name, *text;
};
static const struct words WORDS[] = {
    {CUDA_SUCCESS, "CUDA_SUCCESS", "no error"},
    {CUDA_ERROR_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {CUDA_ERROR_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {CUDA_ERROR_NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {CUDA_ERROR_NO_DEVICE, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {CUDA_ERROR_NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {CUDA_ERROR_NOT_SUPPORTED, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
};

static CUresult say(CUresult error, const char **text, int name) {
  if (text == NULL) return CUDA_ERROR_INVALID_VALUE;
  *text = name ? "CUDA_ERROR_UNKNOWN" : "unknown error";
  for (size_t i = 0; i < sizeof WORDS / sizeof *WORDS; i++) {
    if (WORDS[i].error == error) *text = name ? WORDS[i].name : WORDS[i].text;
  }
  return CUDA_SUCCESS;
}

CUresult hook_cuGetErrorName(CUresult error, const char **text) {
  return driver_has(I_cuGetErrorName) ? NEXT(cuGetErrorName)(error, text) : say(error, text, 1);
}

CUresult hook_cuGetErrorString(CUresult error, const char **text) {
  return driver_has(I_cuGetErrorString) ? NEXT(cuGetErrorString)(error, text) : say(error, text, 0);
}
