// SPDX-License-Identifier: Apache-2.0
// runtime-steps STEP...: a program written against the runtime API. Each step prints one line, "STEP -> ERROR [what it found]".
//   malloc:BYTES managed:BYTES pitch:WIDTH:HEIGHT cube:WIDTH:HEIGHT:DEPTH array:WIDTH:HEIGHT mipmap:WIDTH:LEVELS async:BYTES
//   stream:BYTES (a stream of its own) host:BYTES free:N (the N-th allocation, from 0) info total:DEVICE device:N sync trim
//   threshold:BYTES reserved reset copy:N:BYTES (there and back) last
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef PENSTOCK_VENDOR_RUNTIME /* the same program with the vendor's runtime, where its headers are: make gpu-test */
#include <cuda_runtime_api.h>
static int penstockTotalGlobalMem(size_t *bytes, int device) {
  struct cudaDeviceProp properties;
  int error = cudaGetDeviceProperties(&properties, device);
  *bytes = error ? 0 : properties.totalGlobalMem;
  return error;
}
#else
#include "fake/runtime/runtime.h"
#endif

enum { MAX_KEPT = 256, MAX_NUMBERS = 4 };
enum kind { LINEAR, ARRAY, MIPMAP, ASYNC, STREAM, HOST };
static struct {
  enum kind kind;
  void *memory;
  cudaStream_t stream;
} kept[MAX_KEPT];
static int count;

static const struct cudaChannelFormatDesc rgba8 = {8, 8, 8, 8, 1};

static int keep(enum kind kind, void *memory, cudaStream_t stream, int error) {
  if (!error && count < MAX_KEPT) {
    kept[count].kind = kind, kept[count].memory = memory, kept[count].stream = stream;
    count++;
  }
  return error;
}

static int release(size_t at) {
  if (at >= (size_t)count) return cudaErrorInvalidValue;
  void *memory = kept[at].memory;
  switch (kept[at].kind) {
    case LINEAR: return cudaFree(memory);
    case ARRAY: return cudaFreeArray(memory);
    case MIPMAP: return cudaFreeMipmappedArray(memory);
    case ASYNC:
    case STREAM: return cudaFreeAsync(memory, kept[at].stream);
    case HOST: return cudaFreeHost(memory);
  }
  return cudaErrorInvalidValue;
}

static int copy(size_t at, size_t bytes) {
  unsigned char *there = malloc(bytes), *back = calloc(1, bytes);
  int error = at >= (size_t)count || !there || !back ? 1 : 0;
  for (size_t i = 0; !error && i < bytes; i++) there[i] = (unsigned char)(i * 7 + 1);
  if (!error) error = cudaMemcpy(kept[at].memory, there, bytes, 1);
  if (!error) error = cudaMemcpy(back, kept[at].memory, bytes, 2);
  if (!error && memcmp(there, back, bytes)) error = -1;
  if (!error) error = cudaMemset(kept[at].memory, 0xab, bytes);
  if (!error) error = cudaMemcpy(back, kept[at].memory, bytes, 2);
  for (size_t i = 0; !error && i < bytes; i++) error = back[i] == 0xab ? 0 : -2;
  free(there);
  free(back);
  return error;
}

static int allocate(const char *what, const size_t n[MAX_NUMBERS], char *found, size_t room) {
  void *memory = NULL;
  cudaStream_t stream = NULL;
  int error;
  if (!strcmp(what, "malloc")) return error = cudaMalloc(&memory, n[0]), keep(LINEAR, memory, NULL, error);
  if (!strcmp(what, "managed")) return error = cudaMallocManaged(&memory, n[0], 1), keep(LINEAR, memory, NULL, error);
  if (!strcmp(what, "host")) return error = cudaMallocHost(&memory, n[0]), keep(HOST, memory, NULL, error);
  if (!strcmp(what, "async")) return error = cudaMallocAsync(&memory, n[0], NULL), keep(ASYNC, memory, NULL, error);
  if (!strcmp(what, "stream")) {
    if ((error = cudaStreamCreate(&stream))) return error;
    return error = cudaMallocAsync(&memory, n[0], stream), keep(STREAM, memory, stream, error);
  }
  if (!strcmp(what, "pitch")) {
    size_t pitch = 0;
    error = cudaMallocPitch(&memory, &pitch, n[0], n[1]);
    snprintf(found, room, " pitch %zu", pitch);
    return keep(LINEAR, memory, NULL, error);
  }
  if (!strcmp(what, "cube")) {
    struct cudaPitchedPtr cube;
    error = cudaMalloc3D(&cube, (struct cudaExtent){n[0], n[1], n[2]});
    return keep(LINEAR, cube.ptr, NULL, error);
  }
  cudaArray_t array = NULL;
  cudaMipmappedArray_t mipmap = NULL;
  if (!strcmp(what, "array")) return error = cudaMallocArray(&array, &rgba8, n[0], n[1], 0), keep(ARRAY, array, NULL, error);
  if (!strcmp(what, "mipmap")) {
    error = cudaMallocMipmappedArray(&mipmap, &rgba8, (struct cudaExtent){n[0], n[0], 0}, (unsigned)n[1], 0);
    return keep(MIPMAP, mipmap, NULL, error);
  }
  return -99;
}

static int pool(const char *what, const size_t n[MAX_NUMBERS], char *found, size_t room) {
  cudaMemPool_t handle = NULL;
  int device = 0, error = cudaGetDevice(&device);
  if (!error) error = cudaDeviceGetDefaultMemPool(&handle, device);
  if (error) return error;
  uint64_t value = n[0];
  if (!strcmp(what, "trim")) return cudaMemPoolTrimTo(handle, n[0]);
  if (!strcmp(what, "threshold")) return cudaMemPoolSetAttribute(handle, 4, &value);
  if (strcmp(what, "reserved")) return -99;
  error = cudaMemPoolGetAttribute(handle, 5, &value);
  snprintf(found, room, " reserved %llu", (unsigned long long)value);
  return error;
}

static int step(const char *what, const size_t n[MAX_NUMBERS], char *found, size_t room) {
  size_t free_bytes = 0, total = 0;
  int error;
  if (!strcmp(what, "free")) return release(n[0]);
  if (!strcmp(what, "copy")) return copy(n[0], n[1]);
  if (!strcmp(what, "device")) return cudaSetDevice((int)n[0]);
  if (!strcmp(what, "sync")) return cudaStreamSynchronize(NULL);
  if (!strcmp(what, "reset")) return cudaDeviceReset();
  if (!strcmp(what, "last")) return cudaGetLastError();
  if (!strcmp(what, "info")) {
    error = cudaMemGetInfo(&free_bytes, &total);
    snprintf(found, room, " free %zu total %zu", free_bytes, total);
    return error;
  }
  if (!strcmp(what, "total")) {
    error = penstockTotalGlobalMem(&total, (int)n[0]);
    snprintf(found, room, " total %zu", total);
    return error;
  }
  error = allocate(what, n, found, room);
  return error == -99 ? pool(what, n, found, room) : error;
}

int main(int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    char text[128], found[128] = "", *rest = text;
    size_t n[MAX_NUMBERS] = {0};
    snprintf(text, sizeof text, "%s", argv[i]);
    const char *what = strsep(&rest, ":");
    for (int at = 0; at < MAX_NUMBERS && rest; at++) n[at] = strtoull(strsep(&rest, ":"), NULL, 0);
    int error = step(what, n, found, sizeof found);
    printf("%s -> %s%s\n", argv[i], error == 0 ? "0" : error == -99 ? "unknown step" : cudaGetErrorName((cudaError_t)error), found);
    if (error == -99) return 2;
    if (error && error != cudaErrorMemoryAllocation) printf("  code %d\n", error);
  }
  return 0;
}
