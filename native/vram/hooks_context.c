// SPDX-License-Identifier: Apache-2.0
// The end of a context frees what was allocated in it: linear memory, arrays, mipmaps. What belongs to the device or the process (pools, memory
// of cuMemCreate) outlives it. What a context itself costs is no allocation of the program and is not charged.
#include "hooks.h"

CUresult hook_cuCtxDestroy(CUcontext context);
CUresult hook_cuCtxDestroy_v2(CUcontext context);
CUresult hook_cuCtxDetach(CUcontext context);
CUresult hook_cuDevicePrimaryCtxRelease(CUdevice device);
CUresult hook_cuDevicePrimaryCtxRelease_v2(CUdevice device);
CUresult hook_cuDevicePrimaryCtxReset(CUdevice device);
CUresult hook_cuDevicePrimaryCtxReset_v2(CUdevice device);

// The owner number goes first: a context that another thread creates at the same address while this one ends gets a number of its own.
static CUresult end(CUcontext context, CUresult (*real)(CUcontext)) {
  if (!quota_active()) return real(context);
  uint64_t owner = context_forget(context);
  CUresult result = real(context);
  if (result == CUDA_SUCCESS) {
    map_drop(owner, 0);
    if (pools_known()) pools_settle();
  } else {
    context_restore(context, owner);
  }
  return result;
}

CUresult hook_cuCtxDestroy_v2(CUcontext context) { return end(context, NEXT(cuCtxDestroy_v2)); }
CUresult hook_cuCtxDestroy(CUcontext context) { return end(context, NEXT(cuCtxDestroy)); }

// cuCtxDetach ends a context only where it was attached once; then a question about it fails.
CUresult hook_cuCtxDetach(CUcontext context) {
  CUresult result = NEXT(cuCtxDetach)(context);
  unsigned version;
  if (result != CUDA_SUCCESS || !quota_active()) return result;
  if (DRIVER(cuCtxGetApiVersion, CUcontext, unsigned *)(context, &version) == CUDA_SUCCESS) return result;
  uint64_t owner = context_forget(context);
  if (owner != 0) map_drop(owner, 0);
  if (pools_known()) pools_settle();
  return result;
}

static int is_alive(CUdevice device) {
  unsigned flags;
  int active = 0;
  return DRIVER(cuDevicePrimaryCtxGetState, CUdevice, unsigned *, int *)(device, &flags, &active) == CUDA_SUCCESS && active;
}

// The primary context of a device as it is now, NULL where there is none. The runtime may have got it by a table of its own, so nobody was
// seen to retain it: one reference more tells its handle.
static CUcontext primary_of(CUdevice device) {
  CUcontext context = NULL;
  if (!is_alive(device)) return NULL;
  if (DRIVER(cuDevicePrimaryCtxRetain, CUcontext *, CUdevice)(&context, device) != CUDA_SUCCESS) return NULL;
  NEXT(cuDevicePrimaryCtxRelease_v2)(device);
  return context;
}

static CUresult end_primary(CUdevice device, CUresult (*real)(CUdevice)) {
  if (!quota_active()) return real(device);
  CUcontext context = primary_of(device);
  uint64_t owner = context == NULL ? 0 : context_forget(context);
  CUresult result = real(device);
  if (owner == 0) return result;
  if (result == CUDA_SUCCESS && !is_alive(device)) {
    map_drop(owner, 0);
    if (pools_known()) pools_settle();
  } else {
    context_restore(context, owner);
  }
  return result;
}

// A reset leaves a context that is retained usable but empty; the fresh one is told apart by its owner number.
static CUresult reset_primary(CUdevice device, CUresult (*real)(CUdevice)) {
  if (!quota_active()) return real(device);
  CUcontext context = primary_of(device);
  uint64_t owner = context == NULL ? 0 : context_forget(context);
  CUresult result = real(device);
  if (owner != 0 && result == CUDA_SUCCESS) {
    map_drop(owner, 0);
    if (pools_known()) pools_settle();
  } else if (owner != 0) {
    context_restore(context, owner);
  }
  return result;
}

CUresult hook_cuDevicePrimaryCtxRelease_v2(CUdevice device) { return end_primary(device, NEXT(cuDevicePrimaryCtxRelease_v2)); }
CUresult hook_cuDevicePrimaryCtxRelease(CUdevice device) { return end_primary(device, NEXT(cuDevicePrimaryCtxRelease)); }
CUresult hook_cuDevicePrimaryCtxReset_v2(CUdevice device) { return reset_primary(device, NEXT(cuDevicePrimaryCtxReset_v2)); }
CUresult hook_cuDevicePrimaryCtxReset(CUdevice device) { return reset_primary(device, NEXT(cuDevicePrimaryCtxReset)); }
