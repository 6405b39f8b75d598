// SPDX-License-Identifier: Apache-2.0
// The part of NVML's binary interface that tells about memory: numbers and struct shapes only.
#ifndef PENSTOCK_NVML_API_H
#define PENSTOCK_NVML_API_H
#include <stdint.h>

typedef struct nvmlDevice_st *nvmlDevice_t;
typedef int nvmlReturn_t;
enum {
  NVML_SUCCESS = 0,
  NVML_ERROR_UNINITIALIZED = 1,
  NVML_ERROR_INVALID_ARGUMENT = 2,
  NVML_ERROR_NOT_SUPPORTED = 3,
  NVML_ERROR_NOT_FOUND = 6,
  NVML_ERROR_INSUFFICIENT_SIZE = 7,
  NVML_ERROR_LIBRARY_NOT_FOUND = 12,
  NVML_ERROR_FUNCTION_NOT_FOUND = 13,
  NVML_ERROR_ARGUMENT_VERSION_MISMATCH = 25,
};

typedef struct {
  unsigned long long total, free, used;
} nvmlMemory_t;
typedef struct {
  unsigned int version;
  unsigned long long total, reserved, free, used;
} nvmlMemory_v2_t;
typedef struct {
  unsigned long long total, free, used;
} nvmlBAR1Memory_t;
/* Three generations of lists of processes share two shapes. */
typedef struct {
  unsigned int pid;
  unsigned long long used;
} nvmlProcessInfo_v1_t;
typedef struct {
  unsigned int pid;
  unsigned long long used;
  unsigned int gpu_instance, compute_instance;
} nvmlProcessInfo_v2_t;
typedef struct {
  unsigned int pid;
  unsigned long long used;
  unsigned int gpu_instance, compute_instance;
  unsigned long long protected_used;
} nvmlProcessDetail_v1_t;
typedef struct {
  unsigned int version, mode, count;
  nvmlProcessDetail_v1_t *list;
} nvmlProcessDetailList_v1_t;
typedef struct {
  unsigned int pid;
  unsigned long long time;
  unsigned int sm, memory, encoder, decoder;
} nvmlProcessUtilizationSample_t;
typedef struct {
  unsigned long long time;
  unsigned int pid, sm, memory, encoder, decoder, jpeg, ofa;
} nvmlProcessUtilizationInfo_v1_t;
typedef struct {
  unsigned int version, count;
  unsigned long long last_seen;
  nvmlProcessUtilizationInfo_v1_t *list;
} nvmlProcessesUtilizationInfo_v1_t;
typedef struct {
  unsigned int multiprocessors, copy_engines, decoders, encoders, jpegs, ofas, gpu_slices, compute_slices;
  unsigned long long memory_mb;
} nvmlDeviceAttributes_t;
#endif
