// SPDX-License-Identifier: Apache-2.0
// The driver API as far as the hooks need it (names, numbers and layouts are facts of the ABI), and the way to the real driver.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "names.gen.h"

typedef int CUresult;
typedef int CUdevice;
typedef uint64_t CUdeviceptr;
typedef void *CUcontext, *CUstream, *CUarray, *CUmemoryPool, *CUgraph, *CUgraphNode, *CUexternalMemory, *CUevent;
typedef uint64_t CUhandle; // of cuMemCreate

enum {
  CUDA_SUCCESS = 0,
  CUDA_ERROR_INVALID_VALUE = 1,
  CUDA_ERROR_OUT_OF_MEMORY = 2,
  CUDA_ERROR_NOT_INITIALIZED = 3,
  CUDA_ERROR_NO_DEVICE = 100,
  CUDA_ERROR_NOT_FOUND = 500,
  CUDA_ERROR_NOT_READY = 600,
  CUDA_ERROR_NOT_SUPPORTED = 801,
};

// Real entry points by index, 0 = not bound yet. Written once each with the same value by whoever comes first.
extern void *vram_real[NAMES] __attribute__((visibility("hidden")));
// 0 undecided, 1 open: no quota, trampolines jump past the hooks; 2 a quota holds. Decided once per process at the first hooked call.
extern uint32_t vram_gate __attribute__((visibility("hidden")));

// Binds one name: the real function, or one that answers with an error where the driver (or all of it) is missing. Never NULL.
void *driver_bind(uint32_t index);
// 1 where the driver was found and has that name.
int driver_has(uint32_t index);
// 1 where a real driver was found.
int driver_found(void);
// Decides the gate and binds every hooked name; 1 where a quota holds.
int gate_decide(void);

#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

static inline int quota_active(void) {
  uint32_t gate = __atomic_load_n(&vram_gate, __ATOMIC_ACQUIRE);
  return LIKELY(gate == 2) || (gate == 0 && gate_decide());
}

static inline void *driver_entry(uint32_t index) {
  void *entry = __atomic_load_n(&vram_real[index], __ATOMIC_ACQUIRE);
  return LIKELY(entry != NULL) ? entry : driver_bind(index);
}

// The real function behind a hook, and one that is not hooked, by its type.
#define NEXT(name) ((__typeof__(&hook_##name))driver_entry(I_##name))
#define DRIVER(name, ...) ((CUresult(*)(__VA_ARGS__))driver_entry(I_##name))
