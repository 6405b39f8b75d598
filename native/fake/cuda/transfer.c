// SPDX-License-Identifier: Apache-2.0
// Copies and fills: host memory stands behind a block from the first time it is touched.
#include "fake.h"

#include <string.h>

/* Host memory for bytes of the device, or of the host as it is; NULL: not memory of this driver's. */
static char *device_bytes(CUdeviceptr address, size_t bytes) {
  CUdeviceptr base;
  struct block *block = block_of(address, &base);
  if (!block || bytes > block->size - (address - base) || !block_back(base, block)) return NULL;
  return (char *)(uintptr_t)address;
}
static char *any_bytes(CUdeviceptr address, size_t bytes) {
  char *memory = device_bytes(address, bytes);
  return memory ? memory : (char *)(uintptr_t)address;
}
static CUresult copy(void *to, const void *from, size_t bytes) {
  if (bytes && (!to || !from)) return CUDA_ERROR_INVALID_VALUE;
  if (bytes) memmove(to, from, bytes);
  return CUDA_SUCCESS;
}
static CUresult fill(CUdeviceptr to, const void *pattern, size_t width, size_t count) {
  char *memory = device_bytes(to, times(width, count));
  if (!memory && count) return CUDA_ERROR_INVALID_VALUE;
  for (size_t i = 0; i < count; i++) memcpy(memory + i * width, pattern, width);
  return CUDA_SUCCESS;
}

#define COPY(name, flavour, stream)                                                             \
  API CUresult cuMemcpyHtoD##name(CUdeviceptr to, const void *from, size_t bytes stream) {      \
    ENTER();                                                                                    \
    return copy(device_bytes(to, bytes), from, bytes);                                          \
  }                                                                                             \
  API CUresult cuMemcpyDtoH##name(void *to, CUdeviceptr from, size_t bytes stream) {            \
    ENTER();                                                                                    \
    return copy(to, device_bytes(from, bytes), bytes);                                          \
  }                                                                                             \
  API CUresult cuMemcpyDtoD##name(CUdeviceptr to, CUdeviceptr from, size_t bytes stream) {      \
    ENTER();                                                                                    \
    return copy(device_bytes(to, bytes), device_bytes(from, bytes), bytes);                     \
  }                                                                                             \
  API CUresult cuMemcpy##flavour(CUdeviceptr to, CUdeviceptr from, size_t bytes stream) {       \
    ENTER();                                                                                    \
    return copy(any_bytes(to, bytes), any_bytes(from, bytes), bytes);                           \
  }
#define SET(name, stream)                                                              \
  API CUresult cuMemsetD8##name(CUdeviceptr to, unsigned char value, size_t count stream) { \
    ENTER();                                                                           \
    return fill(to, &value, 1, count);                                                 \
  }                                                                                    \
  API CUresult cuMemsetD32##name(CUdeviceptr to, unsigned int value, size_t count stream) { \
    ENTER();                                                                           \
    return fill(to, &value, 4, count);                                                 \
  }
#define STREAM , __attribute__((unused)) CUstream stream
COPY(_v2, , )
COPY(_v2_ptds, _ptds, )
COPY(Async_v2, Async, STREAM)
COPY(Async_v2_ptsz, Async_ptsz, STREAM)
SET(_v2, )
SET(_v2_ptds, )
SET(Async, STREAM)
SET(Async_ptsz, STREAM)
