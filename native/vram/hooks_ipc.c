// SPDX-License-Identifier: Apache-2.0
// Memory that another process exported. The exporter pays for as long as it lives; what it leaves mapped here when it ends is seen by NVML only.
#include "hooks.h"

// CUipcMemHandle goes by value, in memory as the ABI passes large structs.
struct ipc_handle {
  char bytes[64];
};

CUresult hook_cuIpcOpenMemHandle(CUdeviceptr *address, struct ipc_handle handle, unsigned flags);
CUresult hook_cuIpcOpenMemHandle_v2(CUdeviceptr *address, struct ipc_handle handle, unsigned flags);
CUresult hook_cuIpcCloseMemHandle(CUdeviceptr address);

// Whatever we knew of that address is out of date, and a charge for it with it.
static CUresult opened(CUresult result, const CUdeviceptr *address) {
  if (result != CUDA_SUCCESS || !quota_active()) return result;
  struct map_entry entry;
  if (map_remove(*address, KIND_LINEAR, &entry)) release(entry.device, entry.bytes);
  map_insert(*address, KIND_OPENED, -1, 0);
  return result;
}

CUresult hook_cuIpcOpenMemHandle(CUdeviceptr *address, struct ipc_handle handle, unsigned flags) {
  return opened(NEXT(cuIpcOpenMemHandle)(address, handle, flags), address);
}

CUresult hook_cuIpcOpenMemHandle_v2(CUdeviceptr *address, struct ipc_handle handle, unsigned flags) {
  return opened(NEXT(cuIpcOpenMemHandle_v2)(address, handle, flags), address);
}

CUresult hook_cuIpcCloseMemHandle(CUdeviceptr address) {
  if (quota_active()) map_remove(address, KIND_OPENED, NULL);
  return NEXT(cuIpcCloseMemHandle)(address);
}
