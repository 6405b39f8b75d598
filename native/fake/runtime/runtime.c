// SPDX-License-Identifier: Apache-2.0
// A small CUDA runtime of our own: it binds to the driver as the vendor's does (dlopen, one dlsym, then every entry point through
// that one, by the recorded list), so that programs written against the runtime API run end to end on the fake driver.
#include "fake/cuda/api.h"
#include "fake/runtime/lookups.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>

#include "fake/runtime/runtime.h"

typedef CUresult look_up(const char *name, void **out, int version, uint64_t flags, int *status);
static void *bound[LOOK_UPS];
static pthread_once_t once = PTHREAD_ONCE_INIT;
static cudaError_t ready;
static _Thread_local cudaError_t last;
static _Thread_local int chosen;
enum { DEVICES = 16 };
static CUcontext contexts[DEVICES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* The bound pointer of one entry of the list. */
static void *entry(const char *name, int version, int flags) {
  for (int i = 0; i < LOOK_UPS; i++)
    if (look_ups[i].version == version && look_ups[i].flags == flags && !strcmp(look_ups[i].name, name)) return bound[i];
  return NULL;
}
/* Calls the driver: name, version and flags of the look-up, the parameters' types, the arguments. */
#define DRIVER(name, version, flags, types, ...)                      \
  __extension__({                                                     \
    CUresult(*call_) types = (CUresult(*) types)entry(#name, version, flags); \
    call_ ? call_(__VA_ARGS__) : CUDA_ERROR_NOT_SUPPORTED;            \
  })

static cudaError_t end(CUresult result) {
  if (result) last = result;
  return result;
}

static void bind(void) {
  void *driver = dlopen("libcuda.so.1", RTLD_NOW);
  look_up *find = driver ? (look_up *)dlsym(driver, "cuGetProcAddress_v2") : NULL;
  ready = cudaErrorInsufficientDriver;
  if (!find) return;
  for (int i = 0; i < LOOK_UPS; i++) {
    int status = 0;
    if (find(look_ups[i].name, &bound[i], look_ups[i].version, (uint64_t)look_ups[i].flags, &status)) bound[i] = NULL;
  }
  ready = DRIVER(cuInit, 2000, 0, (unsigned), 0);
}

static cudaError_t start(void) {
  pthread_once(&once, bind);
  return ready;
}

/* The device's primary context, made at the first use and current from then on. */
static cudaError_t use(void) {
  cudaError_t error = start();
  if (error) return error;
  pthread_mutex_lock(&lock);
  if (!contexts[chosen]) error = DRIVER(cuDevicePrimaryCtxRetain, 7000, 0, (CUcontext *, CUdevice), &contexts[chosen], chosen);
  CUcontext context = contexts[chosen];
  pthread_mutex_unlock(&lock);
  return error ? error : DRIVER(cuCtxSetCurrent, 4000, 0, (CUcontext), context);
}
#define USE()                        \
  do {                               \
    cudaError_t unusable_ = use();   \
    if (unusable_) return end(unusable_); \
  } while (0)

static CUdeviceptr address(const void *memory) { return (CUdeviceptr)(uintptr_t)memory; }
static cudaError_t give(void **out, CUresult result, const CUdeviceptr *memory) {
  if (!result) *out = (void *)(uintptr_t)*memory; // NOLINT: a device address
  return end(result);
}

cudaError_t cudaGetDeviceCount(int *count) {
  cudaError_t error = start();
  return end(error ? error : DRIVER(cuDeviceGetCount, 2000, 0, (int *), count));
}
cudaError_t cudaSetDevice(int device) {
  int count = 0;
  cudaError_t error = cudaGetDeviceCount(&count);
  if (error) return error;
  if (device < 0 || device >= count || device >= DEVICES) return end(CUDA_ERROR_INVALID_DEVICE);
  chosen = device;
  return end(use());
}
cudaError_t cudaGetDevice(int *device) {
  *device = chosen;
  return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize(void) {
  USE();
  return end(DRIVER(cuCtxSynchronize, 2000, 0, (void)));
}
cudaError_t cudaDeviceReset(void) {
  cudaError_t error = start();
  if (!error) error = DRIVER(cuDevicePrimaryCtxReset, 7000, 0, (CUdevice), chosen);
  pthread_mutex_lock(&lock);
  if (!error) contexts[chosen] = NULL; /* the next use retains it anew */
  pthread_mutex_unlock(&lock);
  return end(error);
}
cudaError_t cudaGetLastError(void) {
  cudaError_t error = last;
  last = cudaSuccess;
  return error;
}
cudaError_t cudaPeekAtLastError(void) { return last; }
const char *cudaGetErrorName(cudaError_t error) {
  return error == cudaErrorMemoryAllocation ? "cudaErrorMemoryAllocation" : error ? "cudaError" : "cudaSuccess";
}
const char *cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorMemoryAllocation ? "out of memory" : error ? "an error" : "no error";
}
cudaError_t penstockTotalGlobalMem(size_t *bytes, int device) {
  cudaError_t error = start();
  return end(error ? error : DRIVER(cuDeviceTotalMem, 3020, 0, (size_t *, CUdevice), bytes, device));
}

cudaError_t cudaMalloc(void **out, size_t bytes) {
  USE();
  CUdeviceptr memory = 0;
  /* The runtime's own rule: nothing is a success and no memory. */
  CUresult result = bytes ? DRIVER(cuMemAlloc, 3020, 0, (CUdeviceptr *, size_t), &memory, bytes) : CUDA_SUCCESS;
  return give(out, result, &memory);
}
cudaError_t cudaFree(void *memory) {
  USE();
  return end(memory ? DRIVER(cuMemFree, 3020, 0, (CUdeviceptr), address(memory)) : CUDA_SUCCESS);
}
cudaError_t cudaMallocPitch(void **out, size_t *pitch, size_t width, size_t height) {
  USE();
  CUdeviceptr memory = 0;
  CUresult result = DRIVER(cuMemAllocPitch, 3020, 0, (CUdeviceptr *, size_t *, size_t, size_t, unsigned), &memory, pitch, width, height, 16);
  return give(out, result, &memory);
}
cudaError_t cudaMalloc3D(struct cudaPitchedPtr *out, struct cudaExtent extent) {
  *out = (struct cudaPitchedPtr){.xsize = extent.width, .ysize = extent.height};
  return cudaMallocPitch(&out->ptr, &out->pitch, extent.width, extent.height * extent.depth);
}
cudaError_t cudaMallocManaged(void **out, size_t bytes, unsigned int flags) {
  USE();
  CUdeviceptr memory = 0;
  return give(out, DRIVER(cuMemAllocManaged, 6000, 0, (CUdeviceptr *, size_t, unsigned), &memory, bytes, flags), &memory);
}
cudaError_t cudaMallocHost(void **out, size_t bytes) {
  USE();
  return end(DRIVER(cuMemHostAlloc, 2020, 0, (void **, size_t, unsigned), out, bytes, 0));
}
cudaError_t cudaFreeHost(void *memory) {
  USE();
  return end(DRIVER(cuMemFreeHost, 2000, 0, (void *), memory));
}

/* ---- arrays ---- */
static int describe(CUDA_ARRAY3D_DESCRIPTOR *out, const struct cudaChannelFormatDesc *format, struct cudaExtent extent, unsigned flags) {
  static const unsigned formats[3][3] = {{0x08, 0x09, 0x0a}, {0x01, 0x02, 0x03}, {0, 0x10, 0x20}}; /* kind, bits */
  int size = format->x == 8 ? 0 : format->x == 16 ? 1 : format->x == 32 ? 2 : -1;
  if (size < 0 || format->f < 0 || format->f > 2) return cudaErrorInvalidValue;
  unsigned channels = 1u + (format->y > 0) + (format->z > 0) + (format->w > 0);
  *out = (CUDA_ARRAY3D_DESCRIPTOR){extent.width, extent.height, extent.depth, formats[format->f][size], channels, flags};
  return cudaSuccess;
}
cudaError_t cudaMalloc3DArray(cudaArray_t *out, const struct cudaChannelFormatDesc *format, struct cudaExtent extent, unsigned int flags) {
  CUDA_ARRAY3D_DESCRIPTOR shape;
  USE();
  if (describe(&shape, format, extent, flags)) return end(cudaErrorInvalidValue);
  return end(DRIVER(cuArray3DCreate, 3020, 0, (cudaArray_t *, const CUDA_ARRAY3D_DESCRIPTOR *), out, &shape));
}
cudaError_t cudaMallocArray(cudaArray_t *out, const struct cudaChannelFormatDesc *format, size_t width, size_t height, unsigned int flags) {
  return cudaMalloc3DArray(out, format, (struct cudaExtent){width, height, 0}, flags);
}
cudaError_t cudaFreeArray(cudaArray_t array) {
  USE();
  return end(array ? DRIVER(cuArrayDestroy, 2000, 0, (cudaArray_t), array) : CUDA_SUCCESS);
}
cudaError_t cudaMallocMipmappedArray(cudaMipmappedArray_t *out, const struct cudaChannelFormatDesc *format, struct cudaExtent extent,
                                     unsigned int levels, unsigned int flags) {
  CUDA_ARRAY3D_DESCRIPTOR shape;
  USE();
  if (describe(&shape, format, extent, flags)) return end(cudaErrorInvalidValue);
  return end(DRIVER(cuMipmappedArrayCreate, 5000, 0, (cudaMipmappedArray_t *, const CUDA_ARRAY3D_DESCRIPTOR *, unsigned), out, &shape, levels));
}
cudaError_t cudaFreeMipmappedArray(cudaMipmappedArray_t array) {
  USE();
  return end(array ? DRIVER(cuMipmappedArrayDestroy, 5000, 0, (cudaMipmappedArray_t), array) : CUDA_SUCCESS);
}

/* ---- streams and pools; both flavours of the default stream ---- */
#define STREAMS(suffix, flags)                                                                                               \
  cudaError_t cudaMallocAsync##suffix(void **out, size_t bytes, cudaStream_t stream) {                                       \
    USE();                                                                                                                   \
    CUdeviceptr memory = 0;                                                                                                  \
    return give(out, DRIVER(cuMemAllocAsync, 11020, flags, (CUdeviceptr *, size_t, cudaStream_t), &memory, bytes, stream), &memory); \
  }                                                                                                                          \
  cudaError_t cudaMallocFromPoolAsync##suffix(void **out, size_t bytes, cudaMemPool_t pool, cudaStream_t stream) {           \
    USE();                                                                                                                   \
    CUdeviceptr memory = 0;                                                                                                  \
    CUresult result = DRIVER(cuMemAllocFromPoolAsync, 11020, flags, (CUdeviceptr *, size_t, cudaMemPool_t, cudaStream_t),    \
                             &memory, bytes, pool, stream);                                                                  \
    return give(out, result, &memory);                                                                                        \
  }                                                                                                                          \
  cudaError_t cudaFreeAsync##suffix(void *memory, cudaStream_t stream) {                                                     \
    USE();                                                                                                                   \
    return end(DRIVER(cuMemFreeAsync, 11020, flags, (CUdeviceptr, cudaStream_t), address(memory), stream));                  \
  }
#define TRANSFERS(suffix, version, flags)                                                                                    \
  cudaError_t cudaMemcpy##suffix(void *to, const void *from, size_t bytes, int kind) {                                       \
    USE();                                                                                                                   \
    (void)kind;                                                                                                              \
    return end(DRIVER(cuMemcpy, version, flags, (CUdeviceptr, CUdeviceptr, size_t), address(to), address(from), bytes));     \
  }
#undef cudaMallocAsync
#undef cudaFreeAsync
#undef cudaMallocFromPoolAsync
#undef cudaStreamSynchronize
#undef cudaMemcpy
#undef cudaMemset
STREAMS(, 0)
STREAMS(_ptsz, 2)
TRANSFERS(, 4000, 0)
TRANSFERS(_ptds, 7000, 2)
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  USE();
  return end(DRIVER(cuStreamSynchronize, 2000, 0, (cudaStream_t), stream));
}
cudaError_t cudaStreamSynchronize_ptsz(cudaStream_t stream) {
  USE();
  return end(DRIVER(cuStreamSynchronize, 7000, 2, (cudaStream_t), stream));
}
cudaError_t cudaMemset(void *memory, int value, size_t bytes) {
  USE();
  return end(DRIVER(cuMemsetD8, 3020, 0, (CUdeviceptr, unsigned char, size_t), address(memory), (unsigned char)value, bytes));
}
cudaError_t cudaMemset_ptds(void *memory, int value, size_t bytes) {
  USE();
  return end(DRIVER(cuMemsetD8, 7000, 2, (CUdeviceptr, unsigned char, size_t), address(memory), (unsigned char)value, bytes));
}
cudaError_t cudaStreamCreate(cudaStream_t *out) {
  USE();
  return end(DRIVER(cuStreamCreate, 2000, 0, (cudaStream_t *, unsigned), out, 0));
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  USE();
  return end(DRIVER(cuStreamDestroy, 4000, 0, (cudaStream_t), stream));
}
cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t *out, int device) {
  USE();
  return end(DRIVER(cuDeviceGetDefaultMemPool, 11020, 0, (cudaMemPool_t *, CUdevice), out, device));
}
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t pool, size_t keep) {
  USE();
  return end(DRIVER(cuMemPoolTrimTo, 11020, 0, (cudaMemPool_t, size_t), pool, keep));
}
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t pool, int attribute, void *value) {
  USE();
  return end(DRIVER(cuMemPoolSetAttribute, 11020, 0, (cudaMemPool_t, int, void *), pool, attribute, value));
}
cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t pool, int attribute, void *value) {
  USE();
  return end(DRIVER(cuMemPoolGetAttribute, 11020, 0, (cudaMemPool_t, int, void *), pool, attribute, value));
}
cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total) {
  USE();
  return end(DRIVER(cuMemGetInfo, 3020, 0, (size_t *, size_t *), free_bytes, total));
}
